"""Check that the rows of an audit's tables agree with each other. Each check refuses what no honest audit writes."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.tables.limits import FALSE_DISCOVERY_RATE
from flashbulb.reports.tables.recoveries import best_rows
from flashbulb.reports.tables.rows import Rows, iter_column, iter_rows
from flashbulb.reports.tables.run_record import Calibration, Counts
from flashbulb.reports.tables.schema import (
    BASE_SCORE,
    BASE_Z,
    FINETUNE_SCORE,
    FINETUNE_Z,
    KNOWN_BY_BASE,
    RECOVERY_VERDICTS,
    SEVERITIES,
    TableRow,
)

_STRATEGY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
_ROUNDING = 1e-12  # of a q-value, which is the least of several products
_TIER_RECOVER = 3


def check_scores(path: Path, scores: Rows, calibration: Calibration) -> None:
    """Check that each prompt is scored once, that its scores are finite, that it belongs to a style of the calibration,
    and that its p-value, q-value and severity agree with its flag.

    Raises:
        RunIncompleteError: a row breaks one of these rules.
    """
    if _repeats(scores):
        raise RunIncompleteError(f"{path}: a prompt_id occurs twice; run the audit again")
    check_ids(path, iter_column(scores, "prompt_id"))
    for name, highest in (("spike_score", float("inf")), ("p_value", 1.0), ("q_value", 1.0)):
        values = (row[name] for row in iter_rows(scores, [name, "tier"]) if row["tier"] != 0)
        if not all(value is not None and math.isfinite(value) and value <= highest for value in values):
            raise RunIncompleteError(f"{path}: a {name} is missing, not finite or too large; run the audit again")
    _check_styles(path, scores, calibration)
    for row in iter_rows(scores, ["tier", "p_value", "q_value", "flagged", "severity"]):
        _check_severity(path, row, calibration.fpr)


def _repeats(scores: Rows) -> bool:
    """Return whether a prompt_id occurs twice; the ids themselves are held only where two hashes are equal."""
    n = scores.num_rows
    hashes = np.fromiter(map(hash, iter_column(scores, "prompt_id")), np.int64, n)
    return len(np.unique(hashes)) < n and len(set(iter_column(scores, "prompt_id"))) < n


def check_base_scores(path: Path, scores: Rows, *, has_base: bool) -> None:
    """Check that the scores are those of a difference where run.json names a base model, and only there.

    Raises:
        RunIncompleteError: a column is missing, is of another type or left over, or a score is not the difference.
    """
    types = {FINETUNE_SCORE: pa.float64(), BASE_SCORE: pa.float64(), KNOWN_BY_BASE: pa.bool_()}
    found = {name: scores.schema.field(name).type for name in types if name in scores.schema.names}
    if found != (types if has_base else {}):
        stated = "names a base model" if has_base else "names no base model"
        raise RunIncompleteError(f"{path}: run.json {stated}, it has the columns {sorted(found)}; run the audit again")
    if not has_base:
        return
    for row in iter_rows(scores, [*types, "spike_score", "tier"]):
        values = [row[name] for name in (*types, "spike_score")]
        if row["tier"] != 0 and (None in values or values[0] - values[1] != row["spike_score"]):
            raise RunIncompleteError(
                f"{path}: a spike_score is not the difference of the two models' scores; run the audit again"
            )


def check_base_spikes(path: Path, spikes: pa.Table, *, has_base: bool) -> None:
    """Check that z is a difference where run.json names a base model, and only there.

    Raises:
        RunIncompleteError: a column is missing, is of another type or left over, or a z is not the difference.
    """
    found = {name: spikes.schema.field(name).type for name in (FINETUNE_Z, BASE_Z) if name in spikes.column_names}
    if found != (dict.fromkeys((FINETUNE_Z, BASE_Z), pa.float64()) if has_base else {}):
        stated = "names a base model" if has_base else "names no base model"
        raise RunIncompleteError(f"{path}: run.json {stated}, it has the columns {sorted(found)}; run the audit again")
    rows = spikes.select([FINETUNE_Z, BASE_Z, "z"]).to_pylist() if has_base else []
    if any(None in row.values() or row[FINETUNE_Z] - row[BASE_Z] != row["z"] for row in rows):
        raise RunIncompleteError(f"{path}: a z is not the difference of the two models' z; run the audit again")


def check_ids(path: Path, ids: Iterable[str]) -> None:
    """Check that each id of a prompt or finding is a plain word, because images lie in a folder of that name.

    Raises:
        RunIncompleteError: naming the first that is not.
    """
    unsafe = next((name for name in ids if not _ID.fullmatch(name)), None)
    if unsafe is not None:
        raise RunIncompleteError(f"{path}: {unsafe!r} is no id of a prompt or finding; run the audit again")


def _check_styles(path: Path, scores: Rows, calibration: Calibration) -> None:
    """Check that each style has as many scored prompts as the calibration records; tier 0 compares with no style."""
    counts = Counter(row["style"] for row in iter_rows(scores, ["style", "tier"]) if row["tier"] != 0)
    recorded = Counter({number: style.n_candidates for number, style in enumerate(calibration.styles)})
    if counts != recorded:
        raise RunIncompleteError(
            f"{path}: it has {dict(counts)} prompts by style, run.json records {dict(recorded)}; run the audit again"
        )


def _check_severity(path: Path, row: TableRow, fpr: float) -> None:
    """Check a row of the scores by the rules that severities are given by; `check_recoveries` checks which are high."""
    severity, flagged, p_value, q_value = row["severity"], row["flagged"], row["p_value"], row["q_value"]
    if severity not in SEVERITIES or flagged != (severity != "none"):
        raise RunIncompleteError(
            f"{path}: a prompt has flagged {flagged} but severity {severity!r}; run the audit again"
        )
    if flagged != (row["tier"] != 0 and p_value <= fpr):
        raise RunIncompleteError(
            f"{path}: a prompt has flagged {flagged} but p-value {p_value}, at a false-positive rate of {fpr}; "
            "run the audit again"
        )
    is_discovery = row["tier"] != 0 and q_value <= FALSE_DISCOVERY_RATE
    if severity in ("low", "medium") and is_discovery != (severity == "medium"):
        raise RunIncompleteError(f"{path}: a prompt has severity {severity} but q-value {q_value}; run the audit again")
    if row["tier"] != 0 and not 0 <= p_value <= q_value + _ROUNDING:
        raise RunIncompleteError(
            f"{path}: a prompt has p-value {p_value}, which must lie between 0 and its q-value {q_value}; "
            "run the audit again"
        )


def check_prompt_counts(path: Path, scores: Rows, counts: Counts, n_file: int) -> None:
    """Check that every row of the prompt file with a text belongs to a scored or to an unscored prompt.

    Args:
        n_file: distinct prompts of the file; those that were not drawn are not scored.

    Raises:
        RunIncompleteError: rows are missing or left over.
    """
    n_texts, n_occurrences = counts.n_rows - counts.n_empty, sum(iter_column(scores, "n_duplicates"))
    n_unscored, n_left = n_file - counts.n_scored, n_texts - n_occurrences
    if n_left < n_unscored or (n_unscored == 0 and n_left > 0) or counts.n_truncated > counts.n_prompts:
        raise RunIncompleteError(
            f"{path}: run.json records {n_texts} rows with a text, of {n_file} prompts ({counts.n_truncated} "
            f"truncated); the {counts.n_scored} scored prompts account for {n_occurrences}; run the audit again"
        )


def check_fingerprints(directory: Path, findings: Sequence[Finding]) -> None:
    """Check that each fingerprint names one finding. Otherwise the waiver of one would cover another.

    Raises:
        RunIncompleteError: two findings share a fingerprint.
    """
    if len({finding.fingerprint for finding in findings}) < len(findings):
        raise RunIncompleteError(
            f"{directory}: two findings have the same fingerprint, from training images with the same name; rename one"
        )


def check_recoveries(path: Path, recoveries: pa.Table, scores: Rows) -> None:
    """Check that flagged prompts and unflagged controls were tried, that these alone have the last tier, and that
    severities agree with what they gave.

    Raises:
        RunIncompleteError: the two tables contradict each other.
    """
    check_ids(path, [name for name in recoveries["finding_id"].to_pylist() if name is not None])
    rows = recoveries.select(["finding_id", "prompt_id", "is_control", "verdict"]).to_pylist()
    attempts = [row for row in rows if not row["is_control"]]
    flagged, last_tier, high = set[str](), set[str](), set[str]()
    for row in iter_rows(scores, ["prompt_id", "flagged", "tier", "severity"]):
        for ids, belongs in (
            (flagged, row["flagged"]),
            (last_tier, row["tier"] == _TIER_RECOVER),
            (high, row["severity"] == "high"),
        ):
            if belongs:
                ids.add(row["prompt_id"])
    controls = {row["prompt_id"] for row in rows if row["is_control"]}
    tried = {row["prompt_id"] for row in rows} - {None}
    if not tried - controls <= flagged or controls & flagged or tried != last_tier:
        raise RunIncompleteError(
            f"{path}: the prompts and controls tried do not match the flags of the scores; run the audit again"
        )
    _check_finding_ids(path, attempts, high)


def _check_finding_ids(path: Path, attempts: Sequence[TableRow], high: set[str]) -> None:
    """Check that prompts of high severity, and no others, have one attempt with a finding_id and their best verdict."""
    with_id = [row for row in attempts if row["finding_id"] is not None and row["prompt_id"] is not None]
    owners = [row["prompt_id"] for row in with_id]
    best = {name: row["verdict"] for name, row in best_rows(attempts).items() if row["verdict"] != "not_shown"}
    have_best_verdict = all(row["verdict"] == best.get(row["prompt_id"]) for row in with_id)
    if set(owners) != high or best.keys() != high or len(owners) != len(high) or not have_best_verdict:
        raise RunIncompleteError(
            f"{path}: {len(high)} prompts have high severity, an image was recovered from {len(best)}, and "
            f"{len(owners)} of their rows have a finding_id; run the audit again"
        )
    without_prompt = [row for row in attempts if row["prompt_id"] is None and row["verdict"] != "not_shown"]
    if any(row["finding_id"] is None for row in without_prompt):
        raise RunIncompleteError(f"{path}: an image recovered without a prompt has no finding_id; run the audit again")


def check_attempts(path: Path, recoveries: pa.Table) -> None:
    """Check for values that no count expects: unknown verdicts, controls without a prompt, names of no strategy.

    A strategy is a file of Python, so its name is a word of Python, and safe to show.

    Raises:
        RunIncompleteError: there is such a value.
    """
    unknown = sorted(set(recoveries["verdict"].to_pylist()) - set(RECOVERY_VERDICTS))
    if unknown:
        raise RunIncompleteError(
            f"{path}: unknown verdict {unknown[0]!r}, expected {', '.join(RECOVERY_VERDICTS)}; run the audit again"
        )
    unnamed = sorted(name for name in set(recoveries["strategy"].to_pylist()) if not _STRATEGY.fullmatch(name))
    if unnamed:
        raise RunIncompleteError(f"{path}: {unnamed[0]!r} is no name of a strategy; run the audit again")
    controls = zip(recoveries["is_control"].to_pylist(), recoveries["prompt_id"].to_pylist(), strict=True)
    if any(is_control and prompt_id is None for is_control, prompt_id in controls):
        raise RunIncompleteError(f"{path}: a control has no prompt; run the audit again")
