"""Read the distinct prompts of a file, a folder or standard input, each with the row it came from."""

import hashlib
import logging
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flashbulb.audit.prompts.folders import METADATA, SIDECARS, choose_files
from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.formats.parsers import (
    Row,
    TextColumn,
    detect_suffix,
    parse_arrow,
    parse_csv,
    parse_json,
    parse_jsonl,
    parse_parquet,
    parse_sidecar,
    parse_txt,
)
from flashbulb.audit.prompts.formats.text_files import decode_text, gunzip, read_bytes, read_stream
from flashbulb.audit.prompts.held import HeldPrompts, Prompt
from flashbulb.reports.tables.stores import as_uri

logger = logging.getLogger(__name__)

_WORDS_FOR_MISSING = frozenset({"nan", "none", "null", "na", "n/a", "<na>", "nat"})
"""What programs write into a file of text in the place of a missing caption, in any case."""
_BYTE_ORDER_MARK = "\ufeff"
_PARSERS: dict[str, Callable[[str, str, str | None], TextColumn]] = {
    ".txt": parse_txt,
    ".jsonl": parse_jsonl,
    ".ndjson": parse_jsonl,
    ".csv": parse_csv,
    ".tsv": parse_csv,
    ".json": parse_json,
}
_STDIN = "standard input"
_BINARY: dict[str, Callable[[str, str | None], TextColumn]] = {".parquet": parse_parquet, ".arrow": parse_arrow}
_SUPPORTED = (
    f"{', '.join(_PARSERS)} (each also with .gz), {', '.join(_BINARY)}, a folder with {' or '.join(METADATA)}, "
    f"{' or '.join(_BINARY)} files or a .txt beside each image, and - for standard input"
)


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The distinct prompts of one source in the order of their first rows, and the count of the other rows.

    Args:
        prompts: all of the source, or those that were drawn from it.
        n_distinct: distinct prompts of the source.
        n_rows: number of distinct prompts plus `n_empty` plus `n_duplicates`.
        n_empty: rows with an empty or missing text, which are skipped.
        n_duplicates: rows beyond the first of each text.
        text_column: column that held the prompts; None if the format has no columns.
        sha256: hash of the raw bytes; for a folder, of the lines `<sha256 of the file>  <file name>` that
            `sha256sum` prints for the files read, sorted by name.
        n_audited: prompts of a reference that were left out because they are audited; the other counts lack them.
    """

    prompts: HeldPrompts
    n_distinct: int
    n_rows: int
    n_empty: int
    n_duplicates: int
    text_column: str | None
    sha256: str
    source: str
    n_audited: int = 0


def read_prompts(path: str, text_column: str | None = None) -> PromptSet:
    """Read the prompts of a file or a folder; "-" stands for standard input.

    Args:
        text_column: column that holds the prompts; by default the only one called prompt, text or caption.

    Raises:
        PromptFileError: the prompts cannot be read, or there are none.
    """
    try:
        if path == "-":
            column, sha256 = _read_stdin(text_column)
        elif path and Path(path).is_dir():
            column, sha256 = _read_folder(Path(path), text_column)
        else:
            column, sha256 = _read_file(path, text_column)
    except OSError as error:
        raise PromptFileError(f"{path}: {error.strerror or error}; give a readable prompt file") from error
    return _prompt_set(column, sha256, source=_STDIN if path == "-" else as_uri(path))


def _prompt_set(column: TextColumn, sha256: str, source: str) -> PromptSet:
    n_rows: Counter[str] = Counter()
    first_row: dict[str, Row] = {}
    for row in column.rows:
        if text := (row.text or "").strip():
            n_rows[text] += 1
            first_row.setdefault(text, row)
    if not first_row:
        raise PromptFileError(f"{source}: no prompts, {len(column.rows)} rows without text; give at least one")
    for text in first_row:
        if (remedy := _remedy(text, column.name)) is not None:
            logger.warning(
                "%s: %r counts as a prompt (%d rows, first row %d); %s",
                source,
                text,
                n_rows[text],
                first_row[text].source_row,
                remedy,
            )
    n_texts = n_rows.total()
    return PromptSet(
        prompts=HeldPrompts.of(_prompt(text, row, n_rows[text]) for text, row in first_row.items()),
        n_distinct=len(first_row),
        n_rows=len(column.rows),
        n_empty=len(column.rows) - n_texts,
        n_duplicates=n_texts - len(first_row),
        text_column=column.name,
        sha256=sha256,
        source=source,
    )


def _remedy(text: str, column: str | None) -> str | None:
    """Return what to do about a text that was hardly meant as it is read; None if nothing is odd about it."""
    if text.lower() in _WORDS_FOR_MISSING:
        return "remove it where it stands for a missing one"
    plain = text.removeprefix(_BYTE_ORDER_MARK)
    if column is not None and plain == column.strip():
        return "remove it where it is the header of a table that was appended"
    return None if plain == text else "remove the byte order mark before it, as of a file that was appended"


def _prompt(text: str, row: Row, n_duplicates: int) -> Prompt:
    where = f"{row.source_file}, row {row.source_row}"
    if "\0" in text:  # escaped in JSON or stored in Parquet; `decode_text` refuses the byte itself
        raise PromptFileError(f"{where}: NUL character in the text; remove it")
    try:
        prompt_id = hashlib.sha256(text.encode()).hexdigest()[:16]
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise PromptFileError(f"{where}: half a surrogate pair ({half}) is not a character; remove it") from error
    return Prompt(prompt_id, text, as_uri(row.source_file), row.source_row, n_duplicates)


def _read_stdin(text_column: str | None) -> tuple[TextColumn, str]:
    data = read_stream(sys.stdin.buffer, _STDIN)
    text = decode_text(gunzip(data, _STDIN) if data.startswith(b"\x1f\x8b") else data, _STDIN)
    column = _PARSERS[detect_suffix(text, text_column)](text, _STDIN, text_column)
    return column, hashlib.sha256(data).hexdigest()


def _read_folder(folder: Path, text_column: str | None) -> tuple[TextColumn, str]:
    rows: list[Row] = []
    listing = hashlib.sha256()
    file_with_column: dict[str | None, str] = {}
    for path in choose_files(folder, tuple(_PARSERS)):
        read = _read_sidecar if path.suffix in SIDECARS else _read_file
        column, sha256 = read(str(path), text_column)
        listing.update(f"{sha256}  {path.name}\n".encode())
        file_with_column.setdefault(column.name, path.name)
        rows.extend(column.rows)
    if len(file_with_column) > 1:
        found = ", ".join(f"{column!r} in {name}" for column, name in file_with_column.items())
        raise PromptFileError(f"{folder}: the text column differs ({found}); give the files one by one")
    return TextColumn(next(iter(file_with_column)), rows), listing.hexdigest()


def _read_sidecar(path: str, text_column: str | None) -> tuple[TextColumn, str]:
    data = read_bytes(path)
    return parse_sidecar(decode_text(data, path), path, text_column), hashlib.sha256(data).hexdigest()


def _read_file(path: str, text_column: str | None) -> tuple[TextColumn, str]:
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    is_gzip = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[-2:-1] if is_gzip else suffixes[-1:])
    if suffix in _BINARY and not is_gzip:
        with Path(path).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return _BINARY[suffix](path, text_column), sha256
    if suffix not in _PARSERS:
        Path(path).stat()  # a missing file is reported as missing, whatever its name
        ending = suffix + ".gz" * is_gzip
        raise PromptFileError(f"{path}: unknown prompt format {ending!r}; supported are {_SUPPORTED}")
    data = read_bytes(path)
    text = decode_text(gunzip(data, path) if is_gzip else data, path)
    return _PARSERS[suffix](text, path, text_column), hashlib.sha256(data).hexdigest()
