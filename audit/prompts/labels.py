"""Read labels of prompts: memorized or not, and the kind of those that are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flashbulb.audit.prompts.formats.arrow_tables import read_parquet
from flashbulb.audit.prompts.formats.columns import columns_named, listed, text_columns
from flashbulb.audit.prompts.formats.csv_tables import read_csv
from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.formats.json_tables import read_json_lines, table_of_objects
from flashbulb.audit.prompts.formats.parsers import text_or_none
from flashbulb.audit.prompts.formats.tables import Table
from flashbulb.audit.prompts.formats.text_files import decode_text, read_bytes
from flashbulb.reports.views.evaluation import ALL_NEGATIVES

_LABELS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_LONGEST_QUOTE = 60  # characters of a cell in an error message


class LabelsError(ValueError):
    """A label file that cannot be used as it is; the message says what is wrong, where, and how to repair it."""


@dataclass(frozen=True, slots=True)
class Label:
    """One labelled prompt.

    Args:
        memorized: the label is 1.
        kind: kind of a negative; None if the file names none, and for every positive.
        where: "line 7" (csv, tsv, jsonl; the header is line 1) or "record 7" (Parquet).
    """

    memorized: bool
    kind: str | None
    where: str


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a file.

    Args:
        source: the file.
        key: what identifies a prompt, "prompt_id" or "prompt".
        by_key: labels by prompt id, or by prompt without surrounding whitespace.
        n_blank: rows that name no prompt, which are skipped.
    """

    source: str
    key: str
    by_key: Mapping[str, Label]
    n_blank: int


def read_labels(path: Path) -> Labels:
    """Read a csv, tsv, jsonl or Parquet file of labels.

    Columns, in any case: `prompt_id`, else `prompt`, `text` or `caption`; `label` with 0 or 1, false or true; and
    optionally `kind`. Of rows with the same prompt and label the first counts.

    Raises:
        LabelsError: the file cannot be read, a column is missing or there twice, a label is neither 0 nor 1, or a
            prompt has both labels.
    """
    try:
        table = _read_table(path)
        columns = _choose_columns(table.columns, path)
        by_key, n_blank = _collect(table, columns, path)
    except PromptFileError as error:
        raise LabelsError(str(error)) from error
    except OSError as error:
        raise LabelsError(f"{path}: {error.strerror or error}; give a readable file of labels") from error
    if not by_key:
        raise LabelsError(f"{path}: no labelled prompt in it; give at least one of each label")
    return Labels(str(path), "prompt_id" if columns.is_id else "prompt", by_key, n_blank)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Names of the columns as the file writes them."""

    key: str
    is_id: bool
    label: str
    kind: str | None

    @property
    def names(self) -> list[str]:
        return [self.key, self.label, *([] if self.kind is None else [self.kind])]


def _read_table(path: Path) -> Table:
    suffix, source = path.suffix.lower(), str(path)
    if suffix == ".parquet":
        return read_parquet(source, lambda schema: _choose_columns(schema.names, path).names)
    data = read_bytes(path)
    parsers: dict[str, Callable[[str], Table]] = {
        ".csv": lambda text: read_csv(text, source, _has_label),
        ".tsv": lambda text: read_csv(text, source, _has_label),
        ".jsonl": lambda text: table_of_objects(read_json_lines(text, source), source, "line"),
    }
    if suffix not in parsers:
        raise LabelsError(f"{path}: unknown format {suffix!r}; write the labels as .csv, .tsv, .jsonl or .parquet")
    return parsers[suffix](decode_text(data, source))


def _has_label(columns: Sequence[str]) -> bool:
    return bool(columns_named(columns, ("label",)))


def _choose_columns(columns: Sequence[str], path: Path) -> _Columns:
    ids, texts = columns_named(columns, ("prompt_id",)), text_columns(columns)
    labels, kinds = columns_named(columns, ("label",)), columns_named(columns, ("kind",))
    for names in (ids, [] if ids else texts, labels, kinds):
        if len(names) > 1:
            raise LabelsError(f"{path}: columns {' and '.join(map(repr, names))} mean the same; keep one of them")
    if not ids and not texts:
        raise LabelsError(
            f"{path}: no column prompt_id, prompt, text or caption among {listed(columns)}; name one of them so"
        )
    if not labels:
        raise LabelsError(f"{path}: no column label among {listed(columns)}; add one with 0 or 1")
    return _Columns((ids or texts)[0], bool(ids), labels[0], kinds[0] if kinds else None)


def _collect(table: Table, columns: _Columns, path: Path) -> tuple[dict[str, Label], int]:
    """Return the labels by key, and the number of rows that name no prompt."""
    by_key: dict[str, Label] = {}
    n_blank = 0
    for number, cells in table.records:
        where = f"{table.unit} {number}"
        key = _text(cells, columns.key, path, where)
        if not key:
            n_blank += 1
            continue
        label = _label(cells, columns, path, where)
        first = by_key.setdefault(key, label)
        if first.memorized != label.memorized:
            raise LabelsError(
                f"{path}: {_quoted(key)} is labelled {int(first.memorized)} in {first.where} and "
                f"{int(label.memorized)} in {where}; keep one of them"
            )
    return by_key, n_blank


def _text(cells: Mapping[str, object], column: str, path: Path, where: str) -> str:
    """Return the text of a cell without surrounding whitespace, empty if the cell is blank."""
    return (text_or_none(cells.get(column), str(path), f"{where}, {column!r}") or "").strip()


def _label(cells: Mapping[str, object], columns: _Columns, path: Path, where: str) -> Label:
    value = cells.get(columns.label)
    memorized = _LABELS.get(str(value).strip().lower())
    if memorized is None:
        is_blank = value is None or value != value or not str(value).strip()  # NaN differs from itself
        found = "no label" if is_blank else f"label {_quoted(value)}"
        raise LabelsError(f"{path}, {where}: {found}; write 1 for memorized and 0 for not, or leave out the row")
    kind = None if memorized or columns.kind is None else _text(cells, columns.kind, path, where)
    if kind == ALL_NEGATIVES:
        raise LabelsError(f"{path}, {where}: kind {kind!r} stands for all negatives together; choose another name")
    return Label(memorized, kind or None, where)


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 4] + "..." + text[-1]
