"""Read the pairs of a data set whose folder says which caption belongs to which image."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.canaries.outputs import Pair
from flashbulb.audit.images.formats import has_image_suffix
from flashbulb.audit.prompts.columns import choose_column

_FILE_NAME = "file_name"


def read_pairs(folder: Path, text_column: str | None) -> Iterator[Pair]:
    """Yield the pairs of an imagefolder (metadata.jsonl or metadata.csv), or of images with a .txt beside each.

    Raises:
        CanaryError: the folder does not say which caption belongs to which image, or a listed image is missing.
    """
    metadata = [folder / name for name in ("metadata.jsonl", "metadata.csv") if (folder / name).is_file()]
    if metadata:
        yield from _listed_pairs(folder, metadata[0], text_column)
        return
    found = False
    for image in sorted(folder.iterdir()) if folder.is_dir() else []:
        caption = image.with_suffix(".txt")
        if has_image_suffix(image.name) and caption.is_file():
            found = True
            yield Pair(image.read_bytes(), image.suffix, caption.read_text(encoding="utf-8").strip())
    if not found:
        raise CanaryError(
            f"{folder} does not say which caption belongs to which image: it holds no metadata.jsonl or metadata.csv, "
            "and no image with a .txt; leave out --with-data, and add what is in train/ to your own training set"
        )


def _listed_pairs(folder: Path, metadata: Path, text_column: str | None) -> Iterator[Pair]:
    rows = list(_rows(metadata))
    if not rows or _FILE_NAME not in rows[0]:
        raise CanaryError(f"{metadata} has no column {_FILE_NAME!r}; leave out --with-data")
    column = choose_column(list(rows[0]), text_column, str(metadata))
    for row in rows:
        image = folder / str(row.get(_FILE_NAME))
        if not image.is_file():
            raise CanaryError(f"{metadata} lists {image}, which does not exist; remove that row")
        if caption := str(row.get(column) or "").strip():
            yield Pair(image.read_bytes(), image.suffix, caption)


def _rows(metadata: Path) -> Iterator[Mapping[str, object]]:
    try:
        with metadata.open(encoding="utf-8-sig", newline="") as lines:
            if metadata.suffix == ".csv":
                yield from csv.DictReader(lines)
            else:
                yield from map(json.loads, filter(str.strip, lines))
    except (csv.Error, ValueError) as error:
        raise CanaryError(f"{metadata} cannot be read: {error}; repair it, or leave out --with-data") from error
