"""Compare the tables of a run directory with its run.json, so that a truncated or edited run is never trusted."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from flashbulb.reports.bounds.power import Power
from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.checks.collection import collect_findings
from flashbulb.reports.checks.evidence import check_evidence, check_propensity
from flashbulb.reports.checks.findings import Finding, recount
from flashbulb.reports.checks.outcomes import check_memories, check_outcomes
from flashbulb.reports.checks.rows import (
    check_attempts,
    check_base_scores,
    check_base_spikes,
    check_fingerprints,
    check_prompt_counts,
    check_recoveries,
    check_scores,
)
from flashbulb.reports.power.sensitivity import audit_power
from flashbulb.reports.tables.canaries import PlantedCanaries, canary_record, check_guesses
from flashbulb.reports.tables.evidence import CANARIES_SCHEMA
from flashbulb.reports.tables.files import (
    CANARIES_FILE,
    MEMORIES_FILE,
    PROPENSITY_FILE,
    RECOVERIES_FILE,
    SCORES_FILE,
    SPIKES_FILE,
    TABLE_FILES,
    RunIncompleteError,
    sha256_of,
)
from flashbulb.reports.tables.frame import frame_fault
from flashbulb.reports.tables.recoveries import recovery_counts
from flashbulb.reports.tables.rows import Rows, iter_column, iter_rows
from flashbulb.reports.tables.run_record import RunRecord, load_run, results_of
from flashbulb.reports.tables.run_tables import AuditTables, read_audit_tables
from flashbulb.reports.tables.schema import KNOWN_BY_BASE, read_table
from flashbulb.reports.tables.seal import check_seal
from flashbulb.reports.tables.verdict import Results

_LAST_DIGITS = 1e-6


class CheckedRun(NamedTuple):
    """A finished audit whose files agree: its record, the results that `decide` judges, its findings and its tables.

    `ordinary` is propensity.parquet; None if no ordinary prompts were sampled.
    """

    record: RunRecord
    results: Results
    findings: tuple[Finding, ...]
    tables: AuditTables
    ordinary: pa.Table | None = None


def load_checked(directory: Path) -> CheckedRun:
    """Read a finished audit, check it as `check_run` does, and compare it with its seal.

    Raises:
        RunFileError: `directory` is not the run directory of a finished audit.
        RunIncompleteError: the audit is untrusted.
    """
    try:
        checked = check_run(directory, load_run(directory))
        check_seal(directory)
        return checked
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
    _check_frame(directory, record)
    n_file = record.counts.n_prompts if record.frame is None else record.frame.n_file
    check_prompt_counts(directory / SCORES_FILE, scores, record.counts, n_file)
    check_recoveries(directory / RECOVERIES_FILE, recoveries, scores)
    has_training_images = record.settings.get("train_images") is not None
    check_outcomes(directory / RECOVERIES_FILE, recoveries, has_training_images)
    check_memories(directory / MEMORIES_FILE, tables.memories, recoveries, has_training_images)
    check_evidence(directory, tables, record)
    _check_power(directory, record.power, audit_power(record, scores, recoveries))
    ordinary = None if record.propensity is None else check_propensity(directory, tables, record, record.propensity)
    findings = collect_findings(scores, recoveries, tables.memories)
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
    return CheckedRun(record, results, findings, tables, ordinary)


def _check_frame(directory: Path, record: RunRecord) -> None:
    """Check that the frame is one that an audit of this prompt file can have."""
    prompts = record.inputs.get("prompts")
    sha256 = prompts.get("sha256") if isinstance(prompts, Mapping) else None
    fault = None if record.frame is None else frame_fault(record.frame, record.counts.n_prompts, sha256)
    if fault is not None:
        raise RunIncompleteError(f"{directory}: run.json records an impossible frame: {fault}; run the audit again")


def check_tables(directory: Path, run: RunRecord) -> AuditTables:
    """Read every table and compare it with run.json: first its bytes, so that a damaged file is never parsed.

    No judgement reads some of them. They are checked all the same.

    Raises:
        RunIncompleteError: a table is missing, damaged, of another run, or contradicts run.json.
    """
    for name in (*TABLE_FILES, *(() if run.propensity is None else (PROPENSITY_FILE,))):
        _check_bytes(directory / name, run)
    _check_canaries(directory / CANARIES_FILE, run)
    tables = read_audit_tables(directory)
    scores, recoveries = tables.scores, tables.recoveries
    check_attempts(directory / RECOVERIES_FILE, recoveries)
    counts, recovered = run.counts, recovery_counts(recoveries, tables.memories)
    found = Counter(  # an Arrow scalar imports pandas
        key for row in iter_rows(scores, ["severity", "tier", "flagged"]) for key in row.items()
    )
    comparisons: dict[str, tuple[object, object]] = {
        "scored prompts": (counts.n_scored, scores.num_rows),
        "prompts left out by tier 0": (counts.n_left_out, found["tier", 0]),
        "flagged prompts": (counts.n_flagged, found["flagged", True]),
        "prompts known by the base": (counts.n_known_by_base, _n_known(scores)),
        "prompts of high severity": (counts.n_high, found["severity", "high"]),
        "controls": (counts.n_controls, recovered.n_controls),
        "controls with an image": (counts.n_false_recoveries, recovered.n_false_recoveries),
        "distinct images": (counts.n_confirmed_pictures, recovered.n_confirmed_pictures),
        "recovered prompts": (counts.n_recovered, recovered.n_recovered),
        "recoveries by strategy": (dict(counts.recovered_by), recovered.recovered_by),
        "rate of false recoveries": (run.false_recovery, rate_of(recovered.n_false_recoveries, recovered.n_controls)),
    }
    for quantity, (recorded, counted) in comparisons.items():
        if not _agree(recorded, counted):
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
    _check_bytes(path, run)
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


def _check_power(directory: Path, recorded: Power | None, computed: Power) -> None:
    for field in fields(computed):
        value, expected = getattr(recorded, field.name, None), getattr(computed, field.name)
        if recorded is None or not _agree(value, expected):
            raise RunIncompleteError(
                f"{directory}: run.json records a power whose {field.name} is {value}, its counts and tables give "
                f"{expected}; run the audit again"
            )


def _agree(recorded: object, computed: object) -> bool:
    """Compare values; bounds may differ in their last digits, which depend on the machine's mathematical functions."""
    if isinstance(computed, float) and isinstance(recorded, float):
        return math.isclose(recorded, computed, rel_tol=_LAST_DIGITS)
    if is_dataclass(computed) and type(recorded) is type(computed):
        return all(_agree(getattr(recorded, field.name), getattr(computed, field.name)) for field in fields(computed))
    if isinstance(computed, Mapping) and isinstance(recorded, Mapping):
        return recorded.keys() == computed.keys() and all(_agree(recorded[key], computed[key]) for key in computed)
    if isinstance(computed, tuple) and isinstance(recorded, tuple):
        return len(recorded) == len(computed) and all(map(_agree, recorded, computed))
    return recorded == computed


def _n_known(scores: Rows) -> int | None:
    if KNOWN_BY_BASE not in scores.schema.names:
        return None
    return sum(is_known is True for is_known in iter_column(scores, KNOWN_BY_BASE))


def _check_bytes(path: Path, run: RunRecord) -> None:
    """Compare a table with its hash; one of another size than was sealed, which may be huge, is not read."""
    if not path.is_file():
        raise RunIncompleteError(f"{path} does not exist; finish the audit by running it again")
    sealed = run.seal.files.get(path.name) if run.seal is not None else None
    has_size = sealed is None or path.stat().st_size == sealed.n_bytes
    if not has_size or sha256_of(path) != run.tables.get(path.name):
        raise RunIncompleteError(f"{path} is not the file that run.json describes; run the audit again")
