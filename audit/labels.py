"""Read labels of prompts: memorized or not, and of which kind the ones that are not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from audit.prompt_formats import TEXT_COLUMNS
from reports.evaluation import ALL_NEGATIVES

_LABELS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_DELIMITERS = (",", ";", "\t")
_LONGEST_QUOTE = 60  # characters of a cell in an error message

Record = tuple[str, Mapping[str, object]]  # where it stands, "line 7" or "record 7", and its cells by column


class LabelsError(ValueError):
    """A label file that cannot be used as it is; the message says what, where and the way out."""


@dataclass(frozen=True, slots=True)
class Label:
    """One labelled prompt.

    Args:
        memorized: 1 in the file.
        kind: of a negative, None where the file names none; kinds of positives are dropped.
        where: "line 7" (csv, tsv, jsonl; the header is line 1) or "record 7" (Parquet).
    """

    memorized: bool
    kind: str | None
    where: str


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels by `key`, which is "prompt_id" or "prompt"; prompts are without surrounding whitespace.

    `n_blank` rows name no prompt and were skipped. `source` is the file.
    """

    source: str
    key: str
    of: Mapping[str, Label]
    n_blank: int


def read_labels(path: Path) -> Labels:
    """Read a csv, tsv, jsonl or Parquet file of labels.

    Columns, in any case: `prompt_id`, else `prompt`, `text` or `caption`; `label` with 0 or 1, false or true; if
    wanted, `kind`. Of rows with the same prompt and label the first counts.

    Raises:
        LabelsError: unreadable, a column is missing or there twice, a label is none, or a prompt has both labels.
    """
    columns, records = _read(path)
    names = _chosen_columns(columns, path)
    of: dict[str, Label] = {}
    n_blank = 0
    for where, cells in records:
        key = _text(cells.get(names.key), path, where, names.key)
        if not key:
            n_blank += 1
            continue
        label = _label(cells, names, path, where)
        first = of.setdefault(key, label)
        if first.memorized != label.memorized:
            raise LabelsError(
                f"{path}: {_quoted(key)} is labelled {int(first.memorized)} in {first.where} and "
                f"{int(label.memorized)} in {where}; keep one of them"
            )
    if not of:
        raise LabelsError(f"{path}: no labelled prompt in it; give at least one of each label")
    return Labels(str(path), "prompt_id" if names.is_id else "prompt", of, n_blank)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Names of the columns as the file writes them."""

    key: str
    is_id: bool
    label: str
    kind: str | None


def _chosen_columns(columns: Sequence[str], path: Path) -> _Columns:
    ids, texts = _named(columns, ("prompt_id",)), _named(columns, TEXT_COLUMNS)
    labels, kinds = _named(columns, ("label",)), _named(columns, ("kind",))
    for names in (ids, [] if ids else texts, labels, kinds):
        if len(names) > 1:
            raise LabelsError(f"{path}: columns {' and '.join(map(repr, names))} mean the same; keep one of them")
    listed = ", ".join(map(_quoted, columns[:12])) or "none"
    if not ids and not texts:
        raise LabelsError(f"{path}: no column prompt_id, prompt, text or caption among {listed}; name one so")
    if not labels:
        raise LabelsError(f"{path}: no column label among {listed}; add one with 0 or 1")
    return _Columns((ids or texts)[0], bool(ids), labels[0], kinds[0] if kinds else None)


def _named(columns: Sequence[str], wanted: Sequence[str]) -> list[str]:
    return [name for name in columns if name.strip().lower() in wanted]


def _label(cells: Mapping[str, object], names: _Columns, path: Path, where: str) -> Label:
    value = cells.get(names.label)
    memorized = _LABELS.get(str(value).strip().lower())
    if memorized is None:
        found = "no label" if _is_blank(value) else f"label {_quoted(value)}"
        raise LabelsError(f"{path}, {where}: {found}; write 1 for memorized and 0 for not, or leave out the row")
    kind = None if memorized or names.kind is None else _text(cells.get(names.kind), path, where, names.kind)
    if kind == ALL_NEGATIVES:
        raise LabelsError(f"{path}, {where}: kind {kind!r} stands for all negatives together; name this kind otherwise")
    return Label(memorized, kind or None, where)


def _text(value: object, path: Path, where: str, column: str) -> str:
    """A cell's text, empty where it is blank."""
    if _is_blank(value):
        return ""
    if not isinstance(value, str):
        raise LabelsError(f"{path}, {where}: {column} is {_quoted(value)}, not a text; write it as a string")
    return value.strip()


def _is_blank(value: object) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())  # NaN is not itself


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 4] + "..." + text[-1]


def _read(path: Path) -> tuple[Sequence[str], Iterator[Record]]:
    """Columns of the file and its records, which are read on while they are asked for."""
    readers: dict[str, Callable[[str, Path], tuple[Sequence[str], Iterator[Record]]]] = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_jsonl,
    }
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return _read_parquet(path)
        data = path.read_bytes()
    except OSError as error:
        raise LabelsError(f"{path}: {error.strerror or error}; give a readable file of labels") from error
    if suffix not in readers:
        raise LabelsError(f"{path}: unknown format {suffix!r}; write the labels as .csv, .tsv, .jsonl or .parquet")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LabelsError(f"{path}, line {line}: invalid UTF-8; save it as UTF-8 text") from error
    return readers[suffix](text, path)


def _read_csv(text: str, path: Path) -> tuple[Sequence[str], Iterator[Record]]:
    """Read a table with a header; the delimiter is the one by which the header has a label, else the most columns."""
    headers = {delimiter: _csv_header(text, path, delimiter) for delimiter in _DELIMITERS}
    delimiter = max(headers, key=lambda d: (bool(_named(headers[d], ("label",))), len(headers[d])))
    columns = headers[delimiter]

    def records() -> Iterator[Record]:
        rows = _csv_rows(text, path, delimiter)
        next(rows, None)
        for line, cells in rows:
            if any(cells[len(columns) :]):
                raise LabelsError(
                    f"{path}, line {line}: {len(cells)} cells under {len(columns)} columns; "
                    f"quote the cell that holds {delimiter!r}"
                )
            yield f"line {line}", dict(zip(columns, cells, strict=False))

    return columns, records()


def _csv_header(text: str, path: Path, delimiter: str) -> list[str]:
    try:
        return next(_csv_rows(text, path, delimiter), (1, []))[1]
    except LabelsError:  # its quotes belong to another delimiter
        return []


def _csv_rows(text: str, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row starts and its cells; blank lines are no rows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise LabelsError(f"{path}, line {line}: broken quotes ({error}); double the quotes in a cell") from error
        if cells is None:
            return
        if cells:
            yield line, cells


def _read_jsonl(text: str, path: Path) -> tuple[Sequence[str], Iterator[Record]]:
    records: list[Record] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LabelsError(f"{path}, line {number}: broken JSON ({error}); write one JSON object a line") from error
        if not isinstance(cells, dict):
            raise LabelsError(f"{path}, line {number}: {_quoted(cells)} is no object; write one JSON object a line")
        columns |= dict.fromkeys(cells)
        records.append((f"line {number}", cells))
    return list(columns), iter(records)


def _read_parquet(path: Path) -> tuple[Sequence[str], Iterator[Record]]:
    path.stat()  # a missing file is called missing
    try:
        with pq.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            wanted = _named(columns, ("prompt_id", "label", "kind", *TEXT_COLUMNS))
            table = file.read(columns=wanted)
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = next(iter(str(error).splitlines()), "unreadable")
        raise LabelsError(f"{path}: broken Parquet ({reason}); write the file anew") from error
    return columns, ((f"record {number}", cells) for number, cells in enumerate(rows, start=1))
