"""Read a file, a folder or standard input into distinct prompts, each with the row it came from."""

import gzip
import hashlib
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from audit.prompt_formats import (
    PromptFileError,
    Row,
    TextColumn,
    choose_column,
    detect_suffix,
    parse_csv,
    parse_json,
    parse_jsonl,
    parse_txt,
)

__all__ = ["Prompt", "PromptFileError", "PromptSet", "read_prompts"]

_PARSERS: dict[str, Callable[[str, str, str | None], TextColumn]] = {
    ".txt": parse_txt,
    ".jsonl": parse_jsonl,
    ".ndjson": parse_jsonl,
    ".csv": parse_csv,
    ".tsv": parse_csv,
    ".json": parse_json,
}
_STDIN = "standard input"
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SUPPORTED = (
    f"{', '.join(_PARSERS)} (each also with .gz), .parquet, a folder with .parquet files or "
    f"{' or '.join(_METADATA)}, and - for standard input"
)
_PARQUET_TEXT = ("string", "large_string", "string_view", "null")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One distinct text, without surrounding whitespace.

    Args:
        prompt_id: the first 16 hex digits of the SHA-256 of the text.
        source_row: where the text first occurs, counted from 1: the line (txt, jsonl, csv with its header as
            line 1; the first line of a record with several) or the record (JSON list, Parquet).
        n_duplicates: how many rows carry this very text, 1 where it has no duplicate.
    """

    prompt_id: str
    text: str
    source_file: str
    source_row: int
    n_duplicates: int


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The distinct prompts of one source in the order of their first rows, and what became of the other rows.

    `n_rows` is the number of distinct prompts plus `n_empty` (empty or missing texts, skipped) plus
    `n_duplicates` (rows beyond the first of each text). `sha256` is over the raw bytes, for a folder over the
    lines `<sha256 of the file>  <file name>` that `sha256sum` prints for the files read, sorted by name.
    """

    prompts: tuple[Prompt, ...]
    n_rows: int
    n_empty: int
    n_duplicates: int
    text_column: str | None
    sha256: str
    source: str


def read_prompts(path: str, text_column: str | None = None) -> PromptSet:
    """Read the prompts of a file or a folder, or of standard input where `path` is "-"."""
    try:
        if path == "-":
            column, sha256 = _read_stdin(text_column)
        elif path and Path(path).is_dir():
            column, sha256 = _read_folder(Path(path), text_column)
        else:
            column, sha256 = _read_file(path, text_column)
    except OSError as error:
        raise PromptFileError(f"{path}: {error.strerror or error}; give a readable prompt file") from error
    return _prompt_set(column, sha256, source=_STDIN if path == "-" else path)


def _prompt_set(column: TextColumn, sha256: str, source: str) -> PromptSet:
    n_of_text: Counter[str] = Counter()
    first_row: dict[str, Row] = {}
    for row in column.rows:
        if text := (row.text or "").strip():
            n_of_text[text] += 1
            first_row.setdefault(text, row)
    if not first_row:
        raise PromptFileError(f"{source}: no prompts, {len(column.rows)} rows without text; give at least one")
    n_texts = n_of_text.total()
    return PromptSet(
        prompts=tuple(_prompt(text, row, n_of_text[text]) for text, row in first_row.items()),
        n_rows=len(column.rows),
        n_empty=len(column.rows) - n_texts,
        n_duplicates=n_texts - len(first_row),
        text_column=column.name,
        sha256=sha256,
        source=source,
    )


def _prompt(text: str, row: Row, n_duplicates: int) -> Prompt:
    where = f"{row.source_file}, row {row.source_row}"
    if "\0" in text:  # escaped in JSON or stored in Parquet; as a byte it is refused with its offset
        raise PromptFileError(f"{where}: NUL character in the text; remove it")
    try:
        prompt_id = hashlib.sha256(text.encode()).hexdigest()[:16]
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise PromptFileError(f"{where}: half a surrogate pair ({half}) is no character; remove it") from error
    return Prompt(prompt_id, text, row.source_file, row.source_row, n_duplicates)


def _read_stdin(text_column: str | None) -> tuple[TextColumn, str]:
    data = sys.stdin.buffer.read()
    raw = _gunzip(data, _STDIN) if data.startswith(b"\x1f\x8b") else data
    text = _decode(raw, _STDIN)
    column = _PARSERS[detect_suffix(text, text_column)](text, _STDIN, text_column)
    return column, hashlib.sha256(data).hexdigest()


def _read_folder(folder: Path, text_column: str | None) -> tuple[TextColumn, str]:
    """Read the metadata file of an imagefolder, else every Parquet file by name, without subfolders."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and entry.name[0] not in "._")
    chosen = [name for name in names if name in _METADATA]
    if len(chosen) > 1:
        raise PromptFileError(f"{folder}: holds {' and '.join(chosen)}; give one of them as the file")
    chosen = chosen or [name for name in names if name.lower().endswith(".parquet")]
    if not chosen:
        raise PromptFileError(f"{folder}: neither {', '.join(_METADATA)} nor a .parquet file in it; give a file")
    rows: list[Row] = []
    listing = hashlib.sha256()
    column_file: dict[str | None, str] = {}
    for name in chosen:
        column, sha256 = _read_file(str(folder / name), text_column)
        listing.update(f"{sha256}  {name}\n".encode())
        column_file.setdefault(column.name, name)
        rows.extend(column.rows)
    if len(column_file) > 1:
        found = ", ".join(f"{column!r} in {name}" for column, name in column_file.items())
        raise PromptFileError(f"{folder}: the text column differs ({found}); give the files one by one")
    return TextColumn(next(iter(column_file)), rows), listing.hexdigest()


def _read_file(path: str, text_column: str | None) -> tuple[TextColumn, str]:
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    is_gzip = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[-2:-1] if is_gzip else suffixes[-1:])
    if suffix == ".parquet" and not is_gzip:
        with Path(path).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return _read_parquet(path, text_column), sha256
    if suffix not in _PARSERS:
        Path(path).stat()  # a missing file is called missing, whatever its name
        ending = suffix + ".gz" * is_gzip
        raise PromptFileError(f"{path}: unknown prompt format {ending!r}; supported are {_SUPPORTED}")
    data = Path(path).read_bytes()
    text = _decode(_gunzip(data, path) if is_gzip else data, path)
    return _PARSERS[suffix](text, path, text_column), hashlib.sha256(data).hexdigest()


def _gunzip(data: bytes, source: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise PromptFileError(f"{source}: broken gzip ({error}); compress it anew or drop .gz") from error


def _decode(data: bytes, source: str) -> str:
    """Decode UTF-8 with or without a byte order mark; refuse NUL and other encodings at the byte offset."""
    try:
        text = data.decode("utf-8")
        offset, what = data.find(b"\0"), "NUL byte"
    except UnicodeDecodeError as error:
        text, offset, what = "", error.start, "invalid UTF-8"
    if offset >= 0:
        line = data.count(b"\n", 0, offset) + 1
        raise PromptFileError(f"{source}: {what} at byte offset {offset} (line {line}); {_way_out(data)}")
    return text.removeprefix("\ufeff")


def _way_out(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "this looks like UTF-16: save it as UTF-8"
    if data.startswith(b"\x1f\x8b"):
        return "this looks like gzip: add .gz to its name"
    if data.startswith(b"PAR1"):
        return "this looks like Parquet: give it as a file named .parquet"
    if data.startswith(b"PK\x03\x04"):
        return "this looks like a zip archive or a spreadsheet: unpack it or export it as CSV"
    return "save it as UTF-8 text"


def _read_parquet(path: str, text_column: str | None) -> TextColumn:
    """Read the text column of one Parquet file, batch by batch, and nothing else of it."""
    try:
        with pq.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            name = columns[choose_column(columns, text_column, path)]
            _check_parquet_type(file.schema_arrow.field(name).type, path, name)
            rows: list[Row] = []
            for batch in file.iter_batches(columns=[name]):
                rows.extend(_parquet_rows(batch.column(name), path, len(rows)))
    except (pa.ArrowException, OSError) as error:
        reason = next(iter(str(error).splitlines()), "unreadable")
        raise PromptFileError(f"{path}: broken Parquet ({reason}); write the file anew") from error
    return TextColumn(name, rows)


def _check_parquet_type(kind: pa.DataType, path: str, name: str) -> None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if str(kind) not in _PARQUET_TEXT:
        raise PromptFileError(f"{path}: column {name!r} holds {kind}, not text; store strings or choose --text-column")


def _parquet_rows(column: pa.Array, path: str, n_before: int) -> Iterator[Row]:
    for n, cell in enumerate(column, start=n_before + 1):
        try:
            yield Row(path, n, cell.as_py())
        except UnicodeDecodeError as error:
            raise PromptFileError(f"{path}, record {n}: invalid UTF-8; write the texts as UTF-8") from error
