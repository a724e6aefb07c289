"""Check that the verdict of each attempt and memory agrees with what it rests on, and memories with attempts."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

import pyarrow as pa

from flashbulb.reports.bounds.replication import replication_of
from flashbulb.reports.checks.recurrence import fault_of_counts, returning_prompts
from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.tables.limits import CONFIRMED_AT, LIKELY_AT, PART_AT, REPLICATION_DISTANCE, TEMPLATE, VERBATIM
from flashbulb.reports.tables.recoveries import best_rows
from flashbulb.reports.tables.run_paths import path_in_run
from flashbulb.reports.tables.schema import AGREEMENT, COPY, EVIDENCE, PART, RECOVERY_VERDICTS, RECURRENCE, TableRow

_SHARES = ("seed_agreement", "confidence", "fixed_share", "similarity")
_PATHS = ("image_path", "mask_path")
_COLUMNS = (
    *_SHARES,
    *_PATHS,
    "alike_seeds",
    "alike_prompts",
    "prompt_id",
    "restart",
    "evaluations",
    "verdict",
    "nearest_image",
    "kind",
)

_ROUNDING = 1e-9  # of a bound, which is found by bisection
_OF_KIND = {VERBATIM: COPY, TEMPLATE: PART}


def check_outcomes(path: Path, recoveries: pa.Table, has_training_images: bool) -> None:
    """Check every attempt in `recoveries`, read from `path`, whose verdicts are known ones.

    Raises:
        RunIncompleteError: no audit writes such a row, or an image lies outside the run.
    """
    returning = returning_prompts(recoveries)
    for row in recoveries.select(_COLUMNS).to_pylist():
        comes_back = row["alike_seeds"] is not None and row["prompt_id"] in returning
        for fault in (*_faults_of_attempt(row), *_faults_of_verdict(row, has_training_images, comes_back)):
            raise RunIncompleteError(f"{path}: an attempt on {row['prompt_id']!r} has {fault}; run the audit again")
        for column in _PATHS:
            if row[column] is not None:
                path_in_run(path.parent, path.name, row[column])


def _faults_of_attempt(row: TableRow) -> Iterator[str]:
    yield from _faults_of_numbers(row, _SHARES)
    for name in ("restart", "evaluations"):
        if row[name] < 0:
            yield f"a {name} of {row[name]}, which is negative"
    fault = fault_of_counts(row)
    if fault is not None:
        yield fault


def _faults_of_numbers(row: TableRow, names: Sequence[str]) -> Iterator[str]:
    """Yield which of these columns are not null and not between 0 and 1."""
    for name in names:
        if row[name] is not None and not 0 <= row[name] <= 1:
            state = "not finite" if not math.isfinite(row[name]) else "not between 0 and 1"
            yield f"a {name} of {row[name]}, which is {state}"


def _faults_of_verdict(row: TableRow, has_training_images: bool, comes_back: bool) -> Iterator[str]:
    """Yield what contradicts the verdict: the rules are those by which an audit judges its images.

    With training images, an image is confirmed by a copy of one of them alone, and likely by a copied part or by its
    confidence. Without them the confidence decides: that of the image, or of its fixed part. An image that comes back
    is likely at least.
    """
    verdict, kind = row["verdict"], row["kind"]
    possible = (VERBATIM, TEMPLATE) if has_training_images else (TEMPLATE,)
    if {has_training_images} != {row[name] is not None for name in ("nearest_image", "similarity")}:
        nearest = f"nearest image {row['nearest_image']!r} and similarity {row['similarity']}"
        yield f"{nearest}, but training images were {'' if has_training_images else 'not '}given"
    elif kind is not None and (kind not in possible or verdict == "not_shown"):
        yield f"kind {kind!r} but verdict {verdict!r}"
    elif verdict == "not_shown" and comes_back:
        yield "verdict 'not_shown' but an image that comes back"
    elif not (_is_founded(row, has_training_images) or (verdict == "likely" and comes_back)):
        measured = f"kind {kind!r}, similarity {row['similarity']} and confidence {row['confidence']}"
        yield f"verdict {verdict!r} but {measured}"


def _is_founded(row: TableRow, has_training_images: bool) -> bool:
    """Return whether what was measured supports the verdict."""
    verdict, kind = row["verdict"], row["kind"]
    confidence = -1.0 if row["confidence"] is None else row["confidence"]
    if verdict == "confirmed" and has_training_images:
        return bool(kind == VERBATIM and row["similarity"] >= 1 - REPLICATION_DISTANCE)
    if kind == TEMPLATE and not has_training_images:
        return bool(verdict == "likely" and confidence >= PART_AT)
    if verdict == "confirmed":
        return bool(confidence >= CONFIRMED_AT)
    if verdict == "likely" and has_training_images:
        return bool(kind == TEMPLATE or confidence >= LIKELY_AT)
    return verdict != "likely" or bool(LIKELY_AT <= confidence < CONFIRMED_AT)


def check_memories(path: Path, memories: pa.Table, recoveries: pa.Table, has_training_images: bool) -> None:
    """Check every row of `memories`, read from `path`, and that `recoveries` shows an image of the same prompts.

    Raises:
        RunIncompleteError: no audit writes such a row, the tables contradict each other, or an image lies outside the
            run.
    """
    by_prompt: dict[str, list[TableRow]] = defaultdict(list)
    returning = returning_prompts(recoveries)
    for row in memories.to_pylist():
        for fault in _faults_of_memory(row, has_training_images, row["prompt_id"] in returning):
            raise RunIncompleteError(f"{path}: a memory of {row['prompt_id']!r} has {fault}; run the audit again")
        if row["image_path"] is not None:
            path_in_run(path.parent, path.name, row["image_path"])
        by_prompt[row["prompt_id"]].append(row)
    attempts = [row for row in recoveries.to_pylist() if row["prompt_id"] is not None]
    best = {name: row for name, row in best_rows(attempts).items() if row["verdict"] != "not_shown"}
    if by_prompt.keys() != best.keys():
        raise RunIncompleteError(
            f"{path}: it has memories of {len(by_prompt)} prompts, an image was recovered from {len(best)}; "
            "run the audit again"
        )
    strategies = {(row["prompt_id"], row["strategy"]) for row in attempts}
    for prompt_id, rows in by_prompt.items():
        for contradiction in _contradictions(rows, best[prompt_id], strategies):
            raise RunIncompleteError(f"{path}: {contradiction} {prompt_id!r} in the recoveries; run the audit again")


def _faults_of_memory(row: TableRow, has_training_images: bool, comes_back: bool) -> Iterator[str]:
    if row["verdict"] not in RECOVERY_VERDICTS[:2] or row["evidence"] not in EVIDENCE:
        yield f"the verdict {row['verdict']!r} by {row['evidence']!r}, which no memory has"
        return
    yield from _faults_of_numbers(row, ("confidence", "similarity", "p_low", "p_high"))
    by_recurrence = row["evidence"] == RECURRENCE
    yield from _faults_of_verdict(row, has_training_images, by_recurrence and comes_back)
    if by_recurrence and row["verdict"] != "likely":
        yield f"verdict {row['verdict']!r} by an image that comes back"
    if not by_recurrence and row["evidence"] != _OF_KIND.get(row["kind"], AGREEMENT):
        yield f"evidence {row['evidence']!r} but kind {row['kind']!r}"
    hits, samples = row["p_hits"], row["p_samples"]
    if not 0 <= hits <= samples:
        yield f"{hits} hits among {samples} samples"
        return
    expected = replication_of(hits, samples)
    bounds = ((row["p_low"], expected.low), (row["p_high"], expected.high))
    if not all(math.isclose(found, bound, abs_tol=_ROUNDING) for found, bound in bounds):
        yield f"bounds {row['p_low']} and {row['p_high']}, which are not those of {hits} hits among {samples} samples"


def _contradictions(rows: Sequence[TableRow], best: Mapping[str, object], strategies: Set[object]) -> Iterator[str]:
    """Yield what contradicts the best attempt on a prompt, whose first memory it shows."""
    ids = [row["finding_id"] for row in rows]
    if any(row["is_control"] != best["is_control"] for row in rows) or ids[0] != best["finding_id"]:
        yield "the first memory is not the finding of"
    if best["is_control"] != (None in ids) or (not best["is_control"] and len(set(ids)) < len(ids)):
        yield "a finding_id is missing, left over or repeated for"
    if min(RECOVERY_VERDICTS.index(row["verdict"]) for row in rows) != RECOVERY_VERDICTS.index(str(best["verdict"])):
        yield "the best verdict is not that of"
    if any((row["prompt_id"], row["strategy"]) not in strategies for row in rows):
        yield "a memory is of a strategy that was not tried on"
    if len({row["p_samples"] for row in rows}) > 1:
        yield "the memories count different numbers of samples of"
