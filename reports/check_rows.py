"""Hold the rows of an audit's tables against each other: what no count would show, and no honest audit writes."""

import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from reports.files import RunIncompleteError
from reports.findings import Finding
from reports.recoveries import best_rows
from reports.run_record import Counts
from reports.schema import RECOVERY_STRATEGIES, RECOVERY_VERDICTS, SEVERITIES


def check_scores(path: Path, scores: pa.Table, fpr: float) -> None:
    """A prompt is judged once, by numbers; its p-value and its severity say whether it is flagged."""
    columns = ("prompt_id", "tier", "severity", "flagged", "p_value")
    ids, tiers, severities, flags, p_values = (scores[name].to_pylist() for name in columns)
    if len(set(ids)) != len(ids):
        raise RunIncompleteError(f"{path}: a prompt_id occurs twice; run the audit again")
    for name, highest in (("spike_score", float("inf")), ("p_value", 1.0), ("q_value", 1.0)):
        values = [value for value, tier in zip(scores[name].to_pylist(), tiers, strict=True) if tier != 0]
        if not all(value is not None and math.isfinite(value) and value <= highest for value in values):
            raise RunIncompleteError(f"{path}: a {name} is no number that it can be; run the audit again")
    for tier, flagged, severity, p_value in zip(tiers, flags, severities, p_values, strict=True):
        if severity not in SEVERITIES or flagged != (severity != "none"):
            raise RunIncompleteError(
                f"{path}: flagged is {flagged} and severity {severity!r} of one prompt; run the audit again"
            )
        if flagged != (tier != 0 and p_value <= fpr):
            raise RunIncompleteError(
                f"{path}: flagged is {flagged} of a prompt whose p-value is {p_value}, at a stated rate of {fpr}; "
                "run the audit again"
            )


def check_prompt_counts(path: Path, scores: pa.Table, counts: Counts) -> None:
    """Every row of the prompt file that has a text belongs to a prompt that was scored, or to one that was not."""
    n_texts, n_occurrences = counts.n_rows - counts.n_empty, sum(scores["n_duplicates"].to_pylist())
    n_unscored, n_left = counts.n_prompts - counts.n_scored, n_texts - n_occurrences
    if n_left < n_unscored or (n_unscored == 0 and n_left > 0) or counts.n_truncated > counts.n_prompts:
        raise RunIncompleteError(
            f"{path}: run.json states {n_texts} rows with a text, of {counts.n_prompts} prompts ({counts.n_truncated} "
            f"cut); the {counts.n_scored} prompts here have {n_occurrences}; run the audit again"
        )


def check_fingerprints(directory: Path, findings: Sequence[Finding]) -> None:
    """A fingerprint names one finding, else the waiver of one would cover another."""
    if len({one.fingerprint for one in findings}) < len(findings):
        raise RunIncompleteError(
            f"{directory}: two findings have one fingerprint: training pictures of the same name; rename one"
        )


def check_tried(path: Path, recoveries: pa.Table, scores: pa.Table) -> None:
    """Flagged prompts and unflagged controls are tried; severity is high where a picture came back; it has a number."""
    for name in ("confidence", "similarity"):
        if not all(value is None or math.isfinite(value) for value in recoveries[name].to_pylist()):
            raise RunIncompleteError(f"{path}: a {name} is no number; run the audit again")
    rows = recoveries.select(["finding_id", "prompt_id", "is_control", "verdict"]).to_pylist()
    tried = [row for row in rows if not row["is_control"]]
    flagged = set(scores.filter(scores["flagged"])["prompt_id"].to_pylist())
    controls = {row["prompt_id"] for row in rows if row["is_control"]}
    if not {row["prompt_id"] for row in tried} - {None} <= flagged or controls & flagged:
        raise RunIncompleteError(f"{path}: flagged prompts and controls are not those of the scores; run it again")
    numbered = [row for row in tried if row["finding_id"] is not None]
    owners = [row["prompt_id"] for row in numbered if row["prompt_id"] is not None]
    shown = {name: row["verdict"] for name, row in best_rows(tried).items() if row["verdict"] != "not_shown"}
    severities = zip(scores["prompt_id"].to_pylist(), scores["severity"].to_pylist(), strict=True)
    high = {prompt_id for prompt_id, severity in severities if severity == "high"}
    of_best = all(row["verdict"] == shown.get(row["prompt_id"]) for row in numbered if row["prompt_id"] is not None)
    alone = [row for row in tried if row["prompt_id"] is None and row["verdict"] != "not_shown"]
    if set(owners) != high or shown.keys() != high or len(owners) != len(high) or not of_best:
        raise RunIncompleteError(
            f"{path}: severity is high of {len(high)} prompts, pictures came back for {len(shown)}, and "
            f"{len(owners)} of their rows have a finding_id; run the audit again"
        )
    if any(row["finding_id"] is None for row in alone):
        raise RunIncompleteError(f"{path}: a picture without a prompt has no finding_id; run the audit again")


def check_rungs(path: Path, recoveries: pa.Table) -> None:
    """Whatever a count would pass over in silence is refused."""
    for name, known in (("strategy", RECOVERY_STRATEGIES), ("verdict", RECOVERY_VERDICTS)):
        strange = sorted(set(recoveries[name].to_pylist()) - set(known))
        if strange:
            raise RunIncompleteError(
                f"{path}: {name} {strange[0]!r} is none of {', '.join(known)}; run the audit again"
            )
    if pc.any(pc.and_(recoveries["is_control"], pc.is_null(recoveries["prompt_id"]))).as_py():
        raise RunIncompleteError(f"{path}: a control has no prompt; run the audit again")
