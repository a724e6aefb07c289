"""Check that each attempt's verdict agrees with what it rests on: a copied training image, or a confidence."""

import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.tables.limits import CONFIRMED_AT, LIKELY_AT, REPLICATION_DISTANCE, TEMPLATE, VERBATIM
from flashbulb.reports.tables.run_paths import path_in_run
from flashbulb.reports.tables.schema import TableRow

_SHARES = ("seed_agreement", "confidence", "fixed_share", "similarity")
_PATHS = ("image_path", "mask_path")
_COLUMNS = (*_SHARES, *_PATHS, "prompt_id", "restart", "evaluations", "verdict", "nearest_image", "kind")


def check_outcomes(path: Path, recoveries: pa.Table, has_training_images: bool) -> None:
    """Check every attempt in `recoveries`, read from `path`, whose verdicts are known ones.

    Raises:
        RunIncompleteError: no audit writes such a row, or an image lies outside the run.
    """
    for row in recoveries.select(_COLUMNS).to_pylist():
        for fault in (*_faults_of_numbers(row), *_faults_of_verdict(row, has_training_images)):
            raise RunIncompleteError(f"{path}: an attempt on {row['prompt_id']!r} has {fault}; run the audit again")
        for column in _PATHS:
            if row[column] is not None:
                path_in_run(path.parent, path.name, row[column])


def _faults_of_numbers(row: TableRow) -> Iterator[str]:
    for name in _SHARES:
        if row[name] is not None and not 0 <= row[name] <= 1:
            state = "not finite" if not math.isfinite(row[name]) else "not between 0 and 1"
            yield f"a {name} of {row[name]}, which is {state}"
    for name in ("restart", "evaluations"):
        if row[name] < 0:
            yield f"a {name} of {row[name]}, which is negative"


def _faults_of_verdict(row: TableRow, has_training_images: bool) -> Iterator[str]:
    """Yield what contradicts the verdict: the rules are those by which an audit judges its images.

    With training images, an image is confirmed by a copy of one of them alone, and likely by a copied part or by its
    confidence. Without them the confidence decides.
    """
    verdict, kind = row["verdict"], row["kind"]
    if {has_training_images} != {row[name] is not None for name in ("nearest_image", "similarity")}:
        nearest = f"nearest image {row['nearest_image']!r} and similarity {row['similarity']}"
        yield f"{nearest}, but training images were {'' if has_training_images else 'not '}given"
    elif kind is not None and (kind not in (VERBATIM, TEMPLATE) or not has_training_images or verdict == "not_shown"):
        yield f"kind {kind!r} but verdict {verdict!r}"
    elif not _is_founded(row, has_training_images):
        measured = f"kind {kind!r}, similarity {row['similarity']} and confidence {row['confidence']}"
        yield f"verdict {verdict!r} but {measured}"


def _is_founded(row: TableRow, has_training_images: bool) -> bool:
    """Return whether what was measured supports the verdict."""
    verdict, kind = row["verdict"], row["kind"]
    confidence = -1.0 if row["confidence"] is None else row["confidence"]
    if verdict == "confirmed" and has_training_images:
        return bool(kind == VERBATIM and row["similarity"] >= 1 - REPLICATION_DISTANCE)
    if verdict == "confirmed":
        return bool(confidence >= CONFIRMED_AT)
    if verdict == "likely" and has_training_images:
        return bool(kind == TEMPLATE or confidence >= LIKELY_AT)
    return verdict != "likely" or bool(LIKELY_AT <= confidence < CONFIRMED_AT)
