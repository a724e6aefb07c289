"""Hold the run directory's tables against run.json, so that a truncated or edited run is never trusted."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from reports.files import (
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    SCORES_FILE,
    SPIKES_FILE,
    TABLE_FILES,
    RunIncompleteError,
    sha256_of,
)
from reports.neuron_groups import NEURON_GROUPS_SCHEMA
from reports.rates import rate_of
from reports.recoveries import recovery_counts
from reports.run_record import RunRecord
from reports.schema import (
    RECOVERIES_SCHEMA,
    RECOVERY_STRATEGIES,
    RECOVERY_VERDICTS,
    SPIKES_SCHEMA,
    read_table,
    scores_schema,
)


def check_tables(directory: Path, run: RunRecord) -> None:
    """Compare every table with run.json, its bytes first, so that a damaged file is never parsed, then its counts.

    Raises:
        RunIncompleteError: a table is missing, damaged, of another run, or tells another story than run.json.
    """
    for name in TABLE_FILES:
        _check_bytes(directory / name, run.tables)
    scores = read_table(directory / SCORES_FILE, scores_schema(()))
    recoveries = read_table(directory / RECOVERIES_FILE, RECOVERIES_SCHEMA)
    read_table(directory / SPIKES_FILE, SPIKES_SCHEMA)
    read_table(directory / NEURON_GROUPS_FILE, NEURON_GROUPS_SCHEMA)
    _check_rungs(directory / RECOVERIES_FILE, recoveries)
    counts, recovered = run.counts, recovery_counts(recoveries)
    is_high = pc.equal(scores["severity"], "high")
    found: dict[str, tuple[object, object]] = {
        "scored prompts": (counts.n_scored, scores.num_rows),
        "prompts left out by tier 0": (counts.n_left_out, pc.sum(pc.equal(scores["tier"], 0)).as_py() or 0),
        "flagged prompts": (counts.n_flagged, pc.sum(scores["flagged"]).as_py() or 0),
        "prompts of high severity": (counts.n_high, pc.sum(is_high).as_py() or 0),
        "controls": (counts.n_controls, recovered.n_controls),
        "controls with a picture": (counts.n_false_recoveries, recovered.n_false_recoveries),
        "distinct pictures": (counts.n_confirmed_pictures, recovered.n_confirmed_pictures),
        "recovered prompts": (counts.n_recovered, recovered.n_recovered),
        "recoveries by strategy": (dict(counts.recovered_by), recovered.recovered_by),
        "rate of false recoveries": (run.false_recovery, rate_of(recovered.n_false_recoveries, recovered.n_controls)),
    }
    for what, (stated, counted) in found.items():
        if stated != counted:
            raise RunIncompleteError(
                f"{directory}: run.json states {stated} {what}, the tables hold {counted}; run the audit again"
            )


def _check_rungs(path: Path, recoveries: pa.Table) -> None:
    """Whatever a count would pass over in silence is refused."""
    for name, known in (("strategy", RECOVERY_STRATEGIES), ("verdict", RECOVERY_VERDICTS)):
        strange = sorted(set(recoveries[name].to_pylist()) - set(known))
        if strange:
            raise RunIncompleteError(
                f"{path}: {name} {strange[0]!r} is none of {', '.join(known)}; run the audit again"
            )
    if pc.any(pc.and_(recoveries["is_control"], pc.is_null(recoveries["prompt_id"]))).as_py():
        raise RunIncompleteError(f"{path}: a control has no prompt; run the audit again")


def _check_bytes(path: Path, tables: Mapping[str, str]) -> None:
    if not path.is_file():
        raise RunIncompleteError(f"{path} does not exist; finish the audit by running it again")
    if sha256_of(path) != tables.get(path.name):
        raise RunIncompleteError(f"{path} is not the file that run.json describes; run the audit again")
