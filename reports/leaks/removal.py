"""`to_remove.csv`: the training images that came back, to drop from the training set or to deduplicate there."""

from collections.abc import Sequence
from pathlib import Path, PurePath

from flashbulb.reports.leaks.images import LeakedImage
from flashbulb.reports.tables.files import write_text
from flashbulb.reports.views.text import csv_text, is_formula, visible_text

REMOVAL_COLUMNS = (
    *("image", "caption_rows", "n_prompts", "near_duplicates", "p", "p_low", "p_high"),
    *("similarity", "copy", "recovery", "finding_id", "fingerprints"),
)
_LONGEST = 4096  # characters of a path


def removal_csv(leaks: Sequence[LeakedImage]) -> str:
    """Return a row for each training image that came back and is not waived; images of unknown origin have none.

    A cell that a spreadsheet would take for a formula gets `./` before it, which is still the same path.
    """
    return csv_text(REMOVAL_COLUMNS, (_row(leak) for leak in leaks if leak.is_training_image and not leak.is_waived))


def write_removal(path: Path, leaks: Sequence[LeakedImage]) -> None:
    """Write `removal_csv`, completely or not at all."""
    write_text(path, removal_csv(leaks))


def _row(leak: LeakedImage) -> tuple[object, ...]:
    nearest, often, copied = leak.nearest, leak.replication, leak.copied
    assert nearest is not None, "a known training image has no name"
    assert copied is not None, "a known training image is not recorded"
    return (
        _path(copied.file or nearest.name or ""),
        " ".join(_caption_row(f.source_file, f.source_row or 0) for f in leak.findings if f.source_file is not None),
        leak.n_prompts,
        copied.near_duplicates,
        *((None, None, None) if often is None or not often.samples else (often.share, often.low, often.high)),
        nearest.similarity,
        nearest.kind,
        leak.verdict,
        leak.finding_id,
        " ".join(finding.fingerprint for finding in leak.findings),
    )


def _caption_row(source_file: str, row: int) -> str:
    name = visible_text(PurePath(source_file).name, 200).replace(" ", "_")
    return f"{_path(name)}:{row}"


def _path(text: str) -> str:
    shown = visible_text(text, _LONGEST)
    return f"./{shown}" if is_formula(shown) else shown
