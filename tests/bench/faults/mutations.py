"""Ways to damage or edit a finished audit: files torn, flipped, swapped or gone, entries and columns changed."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from flashbulb.reports.tables.files import RUN_FILE, TABLE_FILES, sha256_of
from tests.reports.run_files import seal_again

Change = Callable[[Path], object]
VALUES: tuple[Any, ...] = (None, -1, 0, 1, 10**30, float("nan"), "", "text", True, [], {}, [[0]], {"a": 1})
VERDICTS: tuple[dict[str, Any], ...] = (
    {"verdict": {"outcome": "pass", "exit_code": 0, "reasons": ["fine"]}},
    {"verdict": None},
    {"policy": {"max_high": 99, "max_confirmed": 99}},
    {"status": "complete", "verdict": {"outcome": "pass", "exit_code": 0, "reasons": []}, "problems": []},
)


class Mutation(NamedTuple):
    """A change to a run directory.

    Args:
        is_consistent: tables, digests and counts agree afterwards, so a gate may believe them.
        is_setting: what the audit is asked to do changes, so another result is no other content.
    """

    kind: str
    name: str
    change: Change
    is_consistent: bool = False
    is_setting: bool = False


def mutations(run: Path, other: Path, seed: int, most: int) -> list[Mutation]:
    """List the mutations of one run; equal arguments give equal lists.

    Args:
        other: another audit's directory.
        most: mutations of one kind; of a kind that has more, so many are drawn.
    """
    every, chance = _every(run, other, random.Random(seed)), random.Random(seed)
    by_kind = {kind: [m for m in every if m.kind == kind] for kind in dict.fromkeys(m.kind for m in every)}
    return [m for alike in by_kind.values() for m in (chance.sample(alike, most) if len(alike) > most else alike)]


def _every(run: Path, other: Path, chance: random.Random) -> list[Mutation]:
    names = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    folders = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_dir())
    made = [*_of_bytes(run, names, chance), *_of_places(names, folders, other)]
    made += _of_json(run, [name for name in names if name.endswith(".json")], chance)
    made += _of_tables(run, [name for name in names if name.endswith(".parquet")], chance)
    return made


def _of_bytes(run: Path, names: list[str], chance: random.Random) -> Iterator[Mutation]:
    for name in names:
        size = (run / name).stat().st_size
        for _ in range(2):
            place, bit = chance.randrange(size), 1 << chance.randrange(8)
            yield Mutation("a bit flipped", f"{name} at {place}", lambda r, n=name, p=place, b=bit: _flip(r / n, p, b))
        for length in (0, chance.randrange(size), size - 1):
            yield Mutation("a file torn", f"{name} to {length}", lambda r, n=name, k=length: os.truncate(r / n, k))
        yield Mutation("bytes added", name, lambda r, n=name: (r / n).open("ab").write(b"\0"))


def _flip(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)


def _of_places(names: list[str], folders: list[str], other: Path) -> Iterator[Mutation]:
    for name in names:
        yield Mutation("a file gone", name, lambda r, n=name: (r / n).unlink())
        yield Mutation("a folder as a file", name, lambda r, n=name: ((r / n).unlink(), (r / n).mkdir()))
        yield Mutation("a link to itself", name, lambda r, n=name: ((r / n).unlink(), (r / n).symlink_to(r / n)))
        if (other / name).is_file():
            yield Mutation("a file of another audit", name, lambda r, n=name: shutil.copy(other / n, r / n))
    for suffix in sorted({Path(name).suffix for name in names}):
        alike = [name for name in names if name.endswith(suffix)]
        for first, second in pairwise(alike):
            yield Mutation(
                "two files exchanged", f"{first}, {second}", lambda r, a=first, b=second: _swap(r / a, r / b)
            )
    for folder in folders:
        yield Mutation("a folder gone", folder, lambda r, f=folder: shutil.rmtree(r / f))
        yield Mutation("a file as a folder", folder, lambda r, f=folder: (shutil.rmtree(r / f), (r / f).touch()))


def _swap(first: Path, second: Path) -> None:
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def _of_json(run: Path, names: list[str], chance: random.Random) -> Iterator[Mutation]:
    for entries in VERDICTS:
        yield Mutation(
            "verdict edited",
            " ".join(entries),
            lambda r, e=entries: _edit(r / RUN_FILE, [([k], v) for k, v in e.items()]),
        )
    for name in names:
        for path in _places(json.loads((run / name).read_text(encoding="utf-8"))):
            is_setting = path[0] in ("settings", "identity", "inputs")
            for value in chance.sample(VALUES, 2 if name == RUN_FILE else 1):
                yield Mutation(
                    f"an entry of {Path(name).name if name == RUN_FILE else 'another JSON file'} changed",
                    f"{name} {'.'.join(map(str, path))} = {value!r}",
                    lambda r, n=name, p=path, v=value: _edit(r / n, [(p, v)]),
                    is_setting=is_setting,
                )
            yield Mutation(
                "an entry gone",
                f"{name} {'.'.join(map(str, path))}",
                lambda r, n=name, p=path: _drop(r / n, p),
                is_setting=is_setting,
            )


def _places(content: Any) -> list[list[str]]:
    """List the path of every entry of nested mappings."""
    if not isinstance(content, dict):
        return []
    return [path for key, value in content.items() for path in ([key], *([key, *rest] for rest in _places(value)))]


def _edit(path: Path, entries: list[tuple[list[str], Any]]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    for place, value in entries:
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
    path.write_text(json.dumps(content), encoding="utf-8")


def _drop(path: Path, place: list[str]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    path.write_text(json.dumps(content), encoding="utf-8")


def _of_tables(run: Path, names: list[str], chance: random.Random) -> Iterator[Mutation]:
    for name in names:
        table = pq.read_table(run / name, partitioning=None)
        for title, change in _table_changes(table, chance):
            yield Mutation("a table edited", f"{name}: {title}", lambda r, n=name, c=change: _rewrite(r, n, c, False))
            if name in TABLE_FILES:
                yield Mutation(
                    "a table and its digest edited",
                    f"{name} and run.json: {title}",
                    lambda r, n=name, c=change: _rewrite(r, n, c, True),
                )
    yield Mutation("tables, digests and counts rewritten", "nothing recovered", _pretend_nothing_recovered, True)


TableChange = Callable[[pa.Table], pa.Table]


def _table_changes(table: pa.Table, chance: random.Random) -> Iterator[tuple[str, TableChange]]:
    yield "no rows", lambda t: t.slice(0, 0)
    yield "last row gone", lambda t: t.slice(0, max(0, len(t) - 1))
    yield "first row twice", lambda t: pa.concat_tables([t, t.slice(0, 1)])
    yield "rows turned round", lambda t: t.take(pa.array(range(len(t) - 1, -1, -1), pa.int64()))
    yield "no footer", lambda t: t.replace_schema_metadata(None)
    columns = table.column_names if len(table.column_names) < 20 else chance.sample(table.column_names, 8)
    for column in columns:
        yield f"no {column}", lambda t, c=column: t.drop_columns([c])
        yield f"{column} null", lambda t, c=column: _set(t, c, lambda values: [None] * len(values))
        yield f"{column} turned round", lambda t, c=column: _set(t, c, lambda values: values[::-1])
        for value in chance.sample(VALUES, 2):
            yield f"{column} = {value!r}", lambda t, c=column, v=value: _set(t, c, lambda values: [v] * len(values))


def _set(table: pa.Table, column: str, change: Callable[[list[Any]], list[Any]]) -> pa.Table:
    """Change a column's values, in its own type where that can hold them."""
    index, field = table.schema.get_field_index(column), table.schema.field(column).with_nullable(True)
    values = change(table[column].to_pylist())
    try:
        return table.set_column(index, field, pa.array(values, field.type))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return table.set_column(index, column, pa.array([str(value) for value in values]))


def _rewrite(run: Path, name: str, change: TableChange, with_digest: bool) -> None:
    table = pq.read_table(run / name, partitioning=None)
    changed = change(table)
    if changed.schema.metadata is None and len(changed) != len(table):
        changed = changed.replace_schema_metadata(table.schema.metadata)
    pq.write_table(changed, run / name)
    if with_digest:
        _edit(run / RUN_FILE, [(["tables", name], sha256_of(run / name))])
        seal_again(run)


def _pretend_nothing_recovered(run: Path) -> None:
    """Rewrite verdicts and severities, and every digest and count that depends on them."""
    fields = ("finding_id", "confidence", "nearest_image", "similarity", "kind")

    def no_images(table: pa.Table) -> pa.Table:
        table = _set(table, "verdict", lambda values: ["not_shown"] * len(values))
        for name in fields:
            table = _set(table, name, lambda values: [None] * len(values))
        return table

    def no_high(table: pa.Table) -> pa.Table:
        return _set(table, "severity", lambda values: ["medium" if value == "high" else value for value in values])

    _rewrite(run, "recoveries.parquet", no_images, True)
    _rewrite(run, "scores.parquet", no_high, True)
    counts = {"n_high": 0, "n_confirmed_pictures": 0, "n_recovered": 0, "recovered_by": {"sample": 0}}
    _edit(run / RUN_FILE, [(["counts", key], value) for key, value in counts.items()])
    seal_again(run)
