"""Hold the run directory's tables against run.json, so that a truncated or edited run is never trusted."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc

from reports.check_rows import check_fingerprints, check_prompt_counts, check_rungs, check_scores, check_tried
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
    try:
        return check_run(directory, load_run(directory))
    except OSError as error:
        raise RunIncompleteError(f"{directory} cannot be read: {error.strerror or error}") from error


def check_run(directory: Path, record: RunRecord) -> CheckedRun:
    """Read the tables of the audit that `record` is of, as `load_checked` does.

    Raises:
        RunIncompleteError: the audit is not to be trusted.
    """
    check_tables(directory, record)
    scores = read_table(directory / SCORES_FILE, scores_schema(()))
    recoveries = read_table(directory / RECOVERIES_FILE, RECOVERIES_SCHEMA)
    check_scores(directory / SCORES_FILE, scores, record.calibration.fpr)
    check_prompt_counts(directory / SCORES_FILE, scores, record.counts)
    check_tried(directory / RECOVERIES_FILE, recoveries, scores)
    findings = findings_of(scores, recoveries)
    check_fingerprints(directory, findings)
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
    check_rungs(directory / RECOVERIES_FILE, recoveries)
    counts, recovered = run.counts, recovery_counts(recoveries)
    severities, tiers = scores["severity"].to_pylist(), scores["tier"].to_pylist()  # a scalar of Arrow imports pandas
    found: dict[str, tuple[object, object]] = {
        "scored prompts": (counts.n_scored, scores.num_rows),
        "prompts left out by tier 0": (counts.n_left_out, tiers.count(0)),
        "flagged prompts": (counts.n_flagged, pc.sum(scores["flagged"]).as_py() or 0),
        "prompts of high severity": (counts.n_high, severities.count("high")),
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


def _check_bytes(path: Path, tables: Mapping[str, str]) -> None:
    if not path.is_file():
        raise RunIncompleteError(f"{path} does not exist; finish the audit by running it again")
    if sha256_of(path) != tables.get(path.name):
        raise RunIncompleteError(f"{path} is not the file that run.json describes; run the audit again")
