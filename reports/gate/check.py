"""Compare the tables of a run directory with its run.json, so that a truncated or edited run is never trusted."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from flashbulb.reports.gate.check_evidence import check_evidence
from flashbulb.reports.gate.check_outcomes import check_outcomes
from flashbulb.reports.gate.check_rows import (
    check_attempts,
    check_base_scores,
    check_base_spikes,
    check_fingerprints,
    check_prompt_counts,
    check_recoveries,
    check_scores,
)
from flashbulb.reports.gate.findings import Finding, collect_findings, recount
from flashbulb.reports.tables.canaries import (
    CANARIES_FILE,
    CANARIES_SCHEMA,
    PlantedCanaries,
    canary_record,
    check_guesses,
)
from flashbulb.reports.tables.files import (
    RECOVERIES_FILE,
    SCORES_FILE,
    SPIKES_FILE,
    TABLE_FILES,
    RunIncompleteError,
    sha256_of,
)
from flashbulb.reports.tables.rates import rate_of
from flashbulb.reports.tables.recoveries import recovery_counts
from flashbulb.reports.tables.run_record import RunRecord, load_run, results_of
from flashbulb.reports.tables.run_tables import AuditTables, read_audit_tables
from flashbulb.reports.tables.schema import KNOWN_BY_BASE, read_table
from flashbulb.reports.tables.verdict import Results


class CheckedRun(NamedTuple):
    """A finished audit whose files agree: its record, the results that `decide` judges, its findings and its tables."""

    record: RunRecord
    results: Results
    findings: tuple[Finding, ...]
    tables: AuditTables


def load_checked(directory: Path) -> CheckedRun:
    """Read a finished audit and check it as `check_run` does.

    Raises:
        RunFileError: `directory` is not the run directory of a finished audit.
        RunIncompleteError: the audit is untrusted.
    """
    try:
        return check_run(directory, load_run(directory))
    except OSError as error:
        raise RunIncompleteError(f"{directory} cannot be read: {error.strerror or error}") from error


def check_run(directory: Path, record: RunRecord) -> CheckedRun:
    """Read the tables that `record` describes. Their rows must agree with it and with each other.

    Raises:
        RunIncompleteError: the audit is untrusted.
    """
    tables = check_tables(directory, record)
    scores, recoveries = tables.scores, tables.recoveries
    check_scores(directory / SCORES_FILE, scores, record.calibration)
    check_base_scores(directory / SCORES_FILE, scores, has_base=record.base is not None)
    check_base_spikes(directory / SPIKES_FILE, tables.spikes, has_base=record.base is not None)
    check_prompt_counts(directory / SCORES_FILE, scores, record.counts)
    check_recoveries(directory / RECOVERIES_FILE, recoveries, scores)
    has_training_images = record.settings.get("train_images") is not None
    check_outcomes(directory / RECOVERIES_FILE, recoveries, has_training_images)
    check_evidence(directory, tables, record)
    findings = collect_findings(scores, recoveries)
    check_fingerprints(directory, findings)
    recorded = results_of(record)
    counted = recount(recorded, findings)
    results = replace(
        recorded,
        n_medium=counted.n_medium,
        n_low=counted.n_low,
        n_untried=counted.n_untried,
        n_left_out=record.counts.n_left_out,
        style_shift=record.calibration.style_shift,
    )
    assert results == recount(results, findings), f"{results}, but {len(findings)} findings"
    return CheckedRun(record, results, findings, tables)


def check_tables(directory: Path, run: RunRecord) -> AuditTables:
    """Read every table and compare it with run.json: first its bytes, so that a damaged file is never parsed.

    No judgement reads some of them. They are checked all the same.

    Raises:
        RunIncompleteError: a table is missing, damaged, of another run, or contradicts run.json.
    """
    for name in TABLE_FILES:
        _check_bytes(directory / name, run.tables)
    _check_canaries(directory / CANARIES_FILE, run)
    tables = read_audit_tables(directory)
    scores, recoveries = tables.scores, tables.recoveries
    check_attempts(directory / RECOVERIES_FILE, recoveries)
    counts, recovered = run.counts, recovery_counts(recoveries)
    severities, tiers = scores["severity"].to_pylist(), scores["tier"].to_pylist()  # an Arrow scalar imports pandas
    comparisons: dict[str, tuple[object, object]] = {
        "scored prompts": (counts.n_scored, scores.num_rows),
        "prompts left out by tier 0": (counts.n_left_out, tiers.count(0)),
        "flagged prompts": (counts.n_flagged, pc.sum(scores["flagged"]).as_py() or 0),
        "prompts known by the base": (counts.n_known_by_base, _n_known(scores)),
        "prompts of high severity": (counts.n_high, severities.count("high")),
        "controls": (counts.n_controls, recovered.n_controls),
        "controls with an image": (counts.n_false_recoveries, recovered.n_false_recoveries),
        "distinct images": (counts.n_confirmed_pictures, recovered.n_confirmed_pictures),
        "recovered prompts": (counts.n_recovered, recovered.n_recovered),
        "recoveries by strategy": (dict(counts.recovered_by), recovered.recovered_by),
        "rate of false recoveries": (run.false_recovery, rate_of(recovered.n_false_recoveries, recovered.n_controls)),
    }
    for quantity, (recorded, counted) in comparisons.items():
        if recorded != counted:
            raise RunIncompleteError(
                f"{directory}: run.json records {recorded} {quantity}, the tables hold {counted}; run the audit again"
            )
    return tables


def _check_canaries(path: Path, run: RunRecord) -> None:
    """Check that the table of canaries is there if run.json speaks of them, and count what it shows again."""
    if (run.canaries is None) != (path.name not in run.tables):
        raise RunIncompleteError(f"{path.parent}: run.json and its tables disagree on canaries; run the audit again")
    if run.canaries is None:
        return
    _check_bytes(path, run.tables)
    table, stated = read_table(path, CANARIES_SCHEMA), run.canaries
    if not check_guesses(table):
        raise RunIncompleteError(f"{path}: a guess is not the one that the scores give; run the audit again")
    planted = PlantedCanaries(stated.manifest, stated.sha256, stated.data, stated.delta, stated.confidence)
    if canary_record(table, planted) != stated:
        raise RunIncompleteError(
            f"{path.parent}: run.json does not state what {path.name} shows of the canaries; run the audit again"
        )
    if stated.refused is not None and stated.refused not in run.problems:
        raise RunIncompleteError(f"{path.parent}: run.json leaves out why its canaries show nothing; run it again")


def _n_known(scores: pa.Table) -> int | None:
    known = scores[KNOWN_BY_BASE].to_pylist() if KNOWN_BY_BASE in scores.column_names else None
    return None if known is None else known.count(True)


def _check_bytes(path: Path, tables: Mapping[str, str]) -> None:
    if not path.is_file():
        raise RunIncompleteError(f"{path} does not exist; finish the audit by running it again")
    if sha256_of(path) != tables.get(path.name):
        raise RunIncompleteError(f"{path} is not the file that run.json describes; run the audit again")
