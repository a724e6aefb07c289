"""Read the pairs of a data set whose folder says which caption belongs to which image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.canaries.outputs import Pair
from flashbulb.audit.images.formats import has_image_suffix
from flashbulb.audit.prompts.formats.columns import choose_column
from flashbulb.audit.prompts.formats.csv_tables import read_csv
from flashbulb.audit.prompts.formats.json_tables import read_json_lines, table_of_objects
from flashbulb.audit.prompts.formats.parsers import text_or_none
from flashbulb.audit.prompts.formats.tables import Table
from flashbulb.audit.prompts.formats.text_files import decode_text, read_bytes

_FILE_NAME = "file_name"


def read_pairs(folder: Path, text_column: str | None) -> Iterator[Pair]:
    """Yield the pairs of an imagefolder (metadata.jsonl or metadata.csv), or of images with a .txt beside each.

    An image without a caption has an empty one.

    Raises:
        CanaryError: the folder does not say which caption belongs to which image, or a listed image is missing.
        PromptFileError: the captions cannot be read, or one is no text.
    """
    metadata = [folder / name for name in ("metadata.jsonl", "metadata.csv") if (folder / name).is_file()]
    if metadata:
        yield from _listed_pairs(folder, metadata[0], text_column)
        return
    images = sorted(path for path in folder.iterdir() if has_image_suffix(path.name)) if folder.is_dir() else []
    if not any(image.with_suffix(".txt").is_file() for image in images):
        raise CanaryError(
            f"{folder} does not say which caption belongs to which image: it holds no metadata.jsonl or metadata.csv, "
            "and no image with a .txt; leave out --with-data, and add what is in train/ to your own training set"
        )
    for image in images:
        caption = image.with_suffix(".txt")
        text = _text_of(caption) if caption.is_file() else ""
        yield Pair(image.read_bytes(), image.suffix, text.strip())


def _listed_pairs(folder: Path, metadata: Path, text_column: str | None) -> Iterator[Pair]:
    table = _table(metadata)
    if _FILE_NAME not in table.columns:
        raise CanaryError(f"{metadata} has no column {_FILE_NAME!r}; leave out --with-data")
    column = choose_column(table.columns, text_column, str(metadata))
    for number, cells in table.records:
        image = folder / str(cells.get(_FILE_NAME))
        if not image.is_file():
            raise CanaryError(f"{metadata} lists {image}, which does not exist; remove that row")
        caption = text_or_none(cells.get(column), str(metadata), f"{table.unit} {number}, {column!r}")
        yield Pair(image.read_bytes(), image.suffix, (caption or "").strip())


def _table(metadata: Path) -> Table:
    text, source = _text_of(metadata), str(metadata)
    if metadata.suffix == ".csv":
        return read_csv(text, source, lambda columns: _FILE_NAME in columns)
    return table_of_objects(read_json_lines(text, source), source, "line")


def _text_of(path: Path) -> str:
    return decode_text(read_bytes(path), str(path))
