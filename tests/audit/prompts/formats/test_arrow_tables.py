"""Hostile and damaged Parquet and Arrow files are refused in one line, before they fill the memory."""

import random
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.audit.prompts.formats import arrow_tables
from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.labels import LabelsError, read_labels
from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import refusal, texts_of, written


def arrow(path: Path, table: pa.Table) -> Path:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return path


def parquet(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path)
    return path


WRITERS = {".arrow": arrow, ".parquet": parquet}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("name", ["caption", "other_name"])
def test_a_column_name_that_is_not_utf8_is_refused(tmp_path: Path, suffix: str, name: str) -> None:
    path = WRITERS[suffix](tmp_path / f"a{suffix}", pa.table({"label": [1], name: ["a cat"]}))
    path.write_bytes(path.read_bytes().replace(name.encode(), b"\xff" + name.encode()[1:]))
    assert "a column name is not UTF-8" in refusal(path)
    if suffix == ".parquet":
        with pytest.raises(LabelsError, match="a column name is not UTF-8"):
            read_labels(path)


@pytest.mark.parametrize("suffix", WRITERS)
def test_rows_that_take_no_space_are_counted_before_they_are_read(tmp_path: Path, suffix: str) -> None:
    path = WRITERS[suffix](tmp_path / f"a{suffix}", pa.table({"text": pa.nulls(20_000_000)}))
    assert path.stat().st_size < 100_000
    assert "20,000,000 rows" in refusal(path)


@pytest.mark.parametrize("suffix", WRITERS)
def test_more_text_than_memory_should_hold_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_tables, "MOST_BYTES", 99)
    table = pa.table({"image": ["x" * 999], "text": ["a cat"]})
    assert texts_of(read_prompts(str(WRITERS[suffix](tmp_path / f"a{suffix}", table)))) == ["a cat"]
    table = pa.table({"text": ["a cat " * 99]})
    assert "split the file" in refusal(WRITERS[suffix](tmp_path / f"b{suffix}", table))


@pytest.mark.parametrize("suffix", WRITERS)
def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path: Path, suffix: str) -> None:
    table = pa.table({"id": range(50), "text": [f"caption {i}" for i in range(50)]})
    whole = WRITERS[suffix](tmp_path / f"a{suffix}", table).read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        torn = bytearray(whole[: rng.choice([len(whole), rng.randrange(len(whole))])])
        for _ in range(rng.randrange(4)):
            torn[rng.randrange(len(torn))] = rng.randrange(256) if torn else 0
        with suppress(PromptFileError):
            read_prompts(written(tmp_path / f"b{suffix}", bytes(torn)))


def test_an_arrow_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"ARROW1\0\0", b"text\na cat\n", b"\xff" * 99):
        assert "broken Arrow" in refusal(written(tmp_path / "a.arrow", content))
    assert "No such file" in refusal(tmp_path / "none.arrow")
