"""Ways to damage a finished audit that passes; after any single one the gate must not pass it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flashbulb.reports.tables.files import TABLE_FILES, sha256_of
from tests.audit.commands import edit_run_json, run_json
from tests.reports.examples import attempt, attempts_table, memories_table, memory
from tests.reports.runs import LEAKS, write_example

Spoiler = Callable[[Path], None]


def edit(*path: str, value: object) -> Spoiler:
    return lambda run: edit_run_json(run, *path, value=value)


def drop(*path: str) -> Spoiler:
    def spoil(run: Path) -> None:
        content = run_json(run)
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        (run / "run.json").write_text(json.dumps(content), encoding="utf-8")

    return spoil


def bytes_of(name: str, change: Callable[[bytes], bytes]) -> Spoiler:
    return lambda run: (run / name).write_bytes(change((run / name).read_bytes())) and None


def rewritten(name: str, change: Callable[[pa.Table], pa.Table]) -> Spoiler:
    """Change a table and update its hash in run.json, so only its content can reveal the change."""

    def spoil(run: Path) -> None:
        table = pq.read_table(run / name)
        pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), run / name)
        edit_run_json(run, "tables", name, value=sha256_of(run / name))

    return spoil


def rewritten_footer(name: str, version: bytes | None) -> Spoiler:
    def spoil(run: Path) -> None:
        table = pq.read_table(run / name)
        footer = {b"flashbulb.schema_version": version} if version else {}
        pq.write_table(table.replace_schema_metadata(footer), run / name)
        edit_run_json(run, "tables", name, value=sha256_of(run / name))

    return spoil


def with_value(name: str, value: Any, row: int = 0) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        index, field = table.schema.get_field_index(name), table.schema.field(name)
        values = table[name].to_pylist()
        values[row] = value
        return table.set_column(index, field.with_nullable(True), pa.array(values, field.type))

    return change


def with_attempt(**changes: Any) -> Callable[[pa.Table], pa.Table]:
    row = attempt("p5", "not_shown") | changes
    return lambda table: pa.concat_tables([table, attempts_table([row]).cast(table.schema)])


def from_another_audit(name: str) -> Spoiler:
    """Replace a file by that of an audit that leaks."""
    return lambda run: shutil.copy(write_example(run.parent / "other", LEAKS) / name, run / name) and None


def emptied(run: Path) -> None:
    """Remove every row of every table, and set every count in run.json to zero."""
    for name in TABLE_FILES:
        rewritten(name, lambda table: table.slice(0, 0))(run)
    edit_run_json(run, "counts", value=dict.fromkeys(run_json(run)["counts"], 0) | {"recovered_by": {}})
    edit_run_json(run, "false_recovery", value={"n": 0, "of": 0, "low": 0.0, "high": 1.0})


def text_of(name: str, old: str, new: str) -> Spoiler:
    """Replace text that must occur in a file."""

    def spoil(run: Path) -> None:
        text = (run / name).read_text(encoding="utf-8")
        assert old in text
        (run / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return spoil


def replaced(name: str, make: Callable[[Path], object]) -> Spoiler:
    """Replace a file by what `make` makes at its path."""

    def spoil(run: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return spoil


def link(name: str, target: str) -> Spoiler:
    return replaced(name, lambda path: path.symlink_to(target))


def linked_to_another_audit(run: Path) -> None:
    """Replace every table by a link into an audit that leaks."""
    other = write_example(run.parent / "other", LEAKS)
    for name in TABLE_FILES:
        link(name, str(other / name))(run)


def not_utf8(table: pa.Table) -> pa.Table:
    """Replace the prompts by bytes that are not UTF-8."""
    index = table.schema.get_field_index("prompt")
    broken = pa.array([b"\xff\xfe"] * len(table), pa.binary()).view(pa.string())
    return table.set_column(index, table.schema.field(index), broken)


def rows_dropped(run: Path) -> None:
    """Drop the last prompts from the scores, and adjust the counts of prompts."""
    rewritten("scores.parquet", lambda table: table.slice(0, 14))(run)
    for name in ("n_prompts", "n_scored"):
        edit("counts", name, value=14)(run)


def file_as_run(run: Path) -> None:
    shutil.rmtree(run)
    run.write_text("run")


SPOILERS: dict[str, Spoiler] = {
    **{f"no {name}": lambda run, name=name: (run / name).unlink() for name in (*TABLE_FILES, "run.json")},
    **{f"{name} is a folder": replaced(name, Path.mkdir) for name in (*TABLE_FILES, "run.json")},
    **{f"{name} is empty": bytes_of(name, lambda _: b"") for name in (*TABLE_FILES, "run.json")},
    **{f"{name} is torn": bytes_of(name, lambda data: data[: len(data) // 2]) for name in (*TABLE_FILES, "run.json")},
    **{f"{name} is longer": bytes_of(name, lambda data: data + b"\0") for name in (*TABLE_FILES, "run.json")},
    **{
        f"{name} of another audit": from_another_audit(name)
        for name in ("scores.parquet", "recoveries.parquet", "run.json")
    },
    **{f"no {key}": drop(key) for key in ("schema_version", "status", "counts", "calibration", "tables", "problems")},
    **{f"digest of {name} is gone": drop("tables", name) for name in TABLE_FILES},
    **{
        f"status {status!r}": edit("status", value=status)
        for status in ("running", "interrupted", "untrusted", "", None)
    },
    **{f"{n} prompts": edit("counts", "n_prompts", value=n) for n in (0, 19, 21, -1, 20.5, "many", None, True, 10**30)},
    **{f"{n} scored": edit("counts", "n_scored", value=n) for n in (0, 19, 21, -20)},
    **{f"{n} flagged": edit("counts", "n_flagged", value=n) for n in (0, 2)},
    "one more high severity": edit("counts", "n_high", value=1),
    "no controls": edit("counts", "n_controls", value=0),
    "rate of nothing": edit("false_recovery", value={"n": 0, "of": 0, "low": 0.0, "high": 1.0}),
    **{f"fpr {fpr}": edit("calibration", "fpr", value=fpr) for fpr in (0, 1, -0.01, float("nan"), float("inf"), None)},
    "newer schema": edit("schema_version", value=99),
    "older schema": edit("schema_version", value=1),
    "schema version as text": edit("schema_version", value="2"),
    "a problem": edit("problems", value=["a site did not fire"]),
    "problems as text": edit("problems", value="none"),
    "not UTF-8": bytes_of("run.json", lambda data: data.replace(b"toy", b"\xff\xfe")),
    "a list": bytes_of("run.json", lambda data: b"[" + data + b"]"),
    "two records": bytes_of("run.json", lambda data: data + data),
    "a discovery": edit("status", value="discovery"),
    "only a part file": lambda run: (run / "run.json").rename(run / "run.json.part") and None,
    "an audit of nothing": emptied,
    "empty folder": lambda run: [path.unlink() for path in run.iterdir()] and None,
    "no folder": lambda run: shutil.rmtree(run),
    "the run is a file": file_as_run,
    "rows cut off": rewritten("scores.parquet", lambda table: table.slice(0, 19)),
    "a row twice": rewritten("scores.parquet", lambda table: pa.concat_tables([table.slice(0, 19), table.slice(0, 1)])),
    "no flag": rewritten("scores.parquet", with_value("flagged", False, 5)),
    "one more flag": rewritten("scores.parquet", with_value("flagged", True)),
    "unreported high severity": rewritten("scores.parquet", with_value("severity", "high", 5)),
    "unknown severity": rewritten("scores.parquet", with_value("severity", "fine", 5)),
    "flagged with severity none": rewritten("scores.parquet", with_value("severity", "none", 5)),
    "score is nan": rewritten("scores.parquet", with_value("spike_score", float("nan"))),
    "score is infinite": rewritten("scores.parquet", with_value("spike_score", float("inf"))),
    "score is null": rewritten("scores.parquet", with_value("spike_score", None)),
    "p-value is nan": rewritten("scores.parquet", with_value("p_value", float("nan"))),
    "p-value above one": rewritten("scores.parquet", with_value("p_value", 1.5)),
    "a prompt twice": rewritten("scores.parquet", with_value("prompt_id", "p1")),
    "no p-values": rewritten("scores.parquet", lambda table: table.drop_columns(["p_value"])),
    "scores as text": rewritten(
        "scores.parquet", lambda table: table.set_column(8, "spike_score", pa.array(["1"] * len(table)))
    ),
    "unknown column": rewritten("spikes.parquet", lambda table: table.rename_columns(["x", *table.column_names[1:]])),
    "one more image": rewritten("recoveries.parquet", with_attempt(verdict="confirmed", finding_id="f-9")),
    "a memory of no attempt": rewritten(
        "memories.parquet",
        lambda table: pa.concat_tables(
            [table, memories_table([memory(attempt("p5", "confirmed"))]).cast(table.schema)]
        ),
    ),
    "an image without a finding": rewritten("recoveries.parquet", with_attempt(verdict="likely")),
    "a control that is flagged": rewritten("recoveries.parquet", with_value("is_control", True)),
    "a control with an image": rewritten("recoveries.parquet", with_value("verdict", "likely", -1)),
    "a control that is not one": rewritten("recoveries.parquet", with_value("is_control", False, -1)),
    "unknown verdict": rewritten("recoveries.parquet", with_value("verdict", "fine")),
    "another strategy": rewritten("recoveries.parquet", with_value("strategy", "luck")),
    "a strategy without a name": rewritten("recoveries.parquet", with_value("strategy", "", -1)),
    **{
        f"{key} is repeated": text_of("run.json", f'"{key}": ', f'"{key}": {wrong}, "{key}": ')
        for key, wrong in {"problems": '["a site did not fire"]', "status": '"running"', "n_prompts": "99"}.items()
    },
    **{f"style shift {value}": edit("calibration", "style_shift", value=value) for value in (-1e9, 2, float("nan"))},
    "a time that is nan": edit("timings", "step", value=float("nan")),
    "a time that is infinite": text_of("run.json", "20.25", "1e999"),
    "more truncated prompts than prompts": edit("counts", "n_truncated", value=10**30),
    "a number with too many digits": text_of("run.json", '"n_empty": 0', f'"n_empty": {"9" * 5000}'),
    "fewer rows than prompts": edit("counts", "n_rows", value=19),
    "more rows than prompts": edit("counts", "n_rows", value=21),
    "rows dropped and counts adjusted": rows_dropped,
    "nested without end": bytes_of("run.json", lambda _: b"[" * 100_000),
    "null bytes": bytes_of("run.json", lambda _: bytes(4096)),
    "too high a rate": edit("calibration", "fpr", value=0.6),
    "too low a rate": edit("calibration", "fpr", value=1e-9),
    **{f"{name} is a link to itself": link(name, name) for name in ("run.json", "scores.parquet")},
    **{f"{name} is a link to nothing": link(name, "nowhere") for name in ("run.json", "recoveries.parquet")},
    **{f"{name} cannot be read": link(name, "/proc/self/mem") for name in ("run.json", "spikes.parquet")},
    **{f"{name} is a pipe": replaced(name, os.mkfifo) for name in ("run.json", "scores.parquet")},
    "links to another audit": linked_to_another_audit,
    "a table of an older schema": rewritten_footer("scores.parquet", b"1"),
    "a table of a newer schema": rewritten_footer("recoveries.parquet", b"99"),
    "a table without a schema version": rewritten_footer("spikes.parquet", None),
    "prompts that are not text": rewritten("scores.parquet", not_utf8),
    "a prompt without an id": rewritten("scores.parquet", with_value("prompt_id", None)),
    "a prompt without a tier": rewritten("scores.parquet", with_value("tier", None)),
    "an attempt that may be of a control": rewritten("recoveries.parquet", with_value("is_control", None)),
    "a flag whose p-value is above the rate": rewritten("scores.parquet", with_value("p_value", 0.02, 5)),
    "no flag for a p-value below the rate": rewritten("scores.parquet", with_value("p_value", 0.01)),
    "a confidence that is nan": rewritten("recoveries.parquet", with_value("confidence", float("nan"))),
    "a similarity that is infinite": rewritten("recoveries.parquet", with_value("similarity", float("inf"))),
    "no attempts": rewritten("recoveries.parquet", lambda table: table.slice(0, 0)),
}
