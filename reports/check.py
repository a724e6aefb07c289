"""Hold the run directory's tables against run.json, so that a truncated or edited run is never trusted."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from reports.decide import Results
from reports.evidence_tables import REFERENCE_SCORES_SCHEMA, SITE_PROFILES_SCHEMA, TEXT_NULL_SCHEMA
from reports.files import (
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    REFERENCE_SCORES_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    TABLE_FILES,
    TEXT_NULL_FILE,
    RunIncompleteError,
    sha256_of,
)
from reports.findings import Finding, findings_of, with_findings
from reports.neuron_groups import NEURON_GROUPS_SCHEMA
from reports.rates import rate_of
from reports.recoveries import recovery_counts
from reports.run_record import RunRecord, load_run, results_of
from reports.schema import (
    RECOVERIES_SCHEMA,
    RECOVERY_STRATEGIES,
    RECOVERY_VERDICTS,
    SEVERITIES,
    SPIKES_SCHEMA,
    read_table,
    scores_schema,
)

OTHER_TABLES = {
    SPIKES_FILE: SPIKES_SCHEMA,
    NEURON_GROUPS_FILE: NEURON_GROUPS_SCHEMA,
    REFERENCE_SCORES_FILE: REFERENCE_SCORES_SCHEMA,
    SITE_PROFILES_FILE: SITE_PROFILES_SCHEMA,
    TEXT_NULL_FILE: TEXT_NULL_SCHEMA,
}
"""Those that no judgement looks into, but that have to be what they say."""


class CheckedRun(NamedTuple):
    """A finished audit whose files agree: its record, what `decide` looks at, and what was found."""

    record: RunRecord
    results: Results
    findings: tuple[Finding, ...]


def load_checked(directory: Path) -> CheckedRun:
    """Read a finished audit for a judgement; beyond `check_tables`, its rows must not contradict each other.

    Raises:
        RunIncompleteError: the audit is not to be trusted.
    """
    record = load_run(directory)
    check_tables(directory, record)
    scores = read_table(directory / SCORES_FILE, scores_schema(()))
    recoveries = read_table(directory / RECOVERIES_FILE, RECOVERIES_SCHEMA)
    _check_scores(directory / SCORES_FILE, scores)
    _check_tried(directory / RECOVERIES_FILE, recoveries, scores)
    findings = findings_of(scores, recoveries)
    results = results_of(record)
    counted = with_findings(results, findings)
    looked_at = replace(
        results,
        n_medium=counted.n_medium,
        n_low=counted.n_low,
        n_untried=counted.n_untried,
        n_left_out=record.counts.n_left_out,
        style_shift=record.calibration.style_shift,
    )
    assert looked_at == with_findings(looked_at, findings), f"{looked_at} of {len(findings)} findings"
    return CheckedRun(record, looked_at, findings)


def check_tables(directory: Path, run: RunRecord) -> None:
    """Compare every table with run.json, its bytes first, so that a damaged file is never parsed, then its counts.

    Raises:
        RunIncompleteError: a table is missing, damaged, of another run, or tells another story than run.json.
    """
    for name in TABLE_FILES:
        _check_bytes(directory / name, run.tables)
    scores = read_table(directory / SCORES_FILE, scores_schema(()))
    recoveries = read_table(directory / RECOVERIES_FILE, RECOVERIES_SCHEMA)
    for name, schema in OTHER_TABLES.items():
        read_table(directory / name, schema)
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


def _check_scores(path: Path, scores: pa.Table) -> None:
    """A prompt is judged once, by numbers, and its severity says whether it is flagged."""
    ids, severities = scores["prompt_id"], scores["severity"].to_pylist()
    if pc.count_distinct(ids).as_py() != len(ids):
        raise RunIncompleteError(f"{path}: a prompt_id occurs twice; run the audit again")
    judged = scores.filter(pc.not_equal(scores["tier"], 0))
    for name, highest in (("spike_score", float("inf")), ("p_value", 1.0), ("q_value", 1.0)):
        values = judged[name].to_pylist()
        if not all(value is not None and math.isfinite(value) and value <= highest for value in values):
            raise RunIncompleteError(f"{path}: a {name} is no number that it can be; run the audit again")
    for flagged, severity in zip(scores["flagged"].to_pylist(), severities, strict=True):
        if severity not in SEVERITIES or flagged != (severity != "none"):
            raise RunIncompleteError(
                f"{path}: flagged is {flagged} and severity {severity!r} of one prompt; run the audit again"
            )


def _check_tried(path: Path, recoveries: pa.Table, scores: pa.Table) -> None:
    """Flagged prompts and unflagged controls are tried; severity is high where a picture came back; it has a number."""
    rows = recoveries.select(["finding_id", "prompt_id", "is_control", "verdict"]).to_pylist()
    tried = [row for row in rows if not row["is_control"]]
    flagged = set(scores.filter(scores["flagged"])["prompt_id"].to_pylist())
    controls = {row["prompt_id"] for row in rows if row["is_control"]}
    if not {row["prompt_id"] for row in tried} - {None} <= flagged or controls & flagged:
        raise RunIncompleteError(f"{path}: flagged prompts and controls are not those of the scores; run it again")
    numbered = [row for row in tried if row["finding_id"] is not None]
    owners = [row["prompt_id"] for row in numbered if row["prompt_id"] is not None]
    best: dict[str, str] = {}
    for row in sorted(tried, key=lambda row: RECOVERY_VERDICTS.index(row["verdict"])):
        if row["prompt_id"] is not None and row["verdict"] != "not_shown":
            best.setdefault(row["prompt_id"], row["verdict"])
    high = set(scores.filter(pc.equal(scores["severity"], "high"))["prompt_id"].to_pylist())
    of_best = all(row["verdict"] == best.get(row["prompt_id"]) for row in numbered if row["prompt_id"] is not None)
    alone = [row for row in tried if row["prompt_id"] is None and row["verdict"] != "not_shown"]
    if set(owners) != high or best.keys() != high or len(owners) != len(high) or not of_best:
        raise RunIncompleteError(
            f"{path}: severity is high of {len(high)} prompts, pictures came back for {len(best)}, and "
            f"{len(owners)} of their rows have a finding_id; run the audit again"
        )
    if any(row["finding_id"] is None for row in alone):
        raise RunIncompleteError(f"{path}: a picture without a prompt has no finding_id; run the audit again")


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
