"""A file that cannot be read as prompts is refused in one line that names the place."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import parquet_file, refusal, texts_of, written


def test_malformed_csv_is_refused_with_the_line(tmp_path: Path) -> None:
    unclosed = 'id,prompt\n1,"a cat"\n2,"a dog\n3,a bird\n'
    assert "line 3: a quoted cell has no end" in refusal(written(tmp_path / "a.csv", unclosed))
    undoubled = 'id,prompt\n1,"The "big" cat"\n'
    assert "line 2: a quoted cell" in refusal(written(tmp_path / "b.csv", undoubled))
    unquoted = "id,prompt\n1,a cat\n2,a dog, barking\n"
    assert "line 3: 3 cells under 2 columns" in refusal(written(tmp_path / "c.csv", unquoted))
    assert texts_of(read_prompts(written(tmp_path / "d.csv", "id,prompt\n1,a cat,,\n"))) == ["a cat"]
    stray = "prompt,id\na cat\rsitting,1\n"
    assert "line 2" in refusal(written(tmp_path / "e.csv", stray))


def test_broken_or_mixed_json_is_refused_with_its_line_or_record(tmp_path: Path) -> None:
    refused = {
        '{"prompt": "a"}\n\n{"prompt": \n': "line 3: broken JSON",
        '{"prompt": "a"}\n"b"\n': "line 2: a string, not an object",
        '"a"\n{"prompt": "b"}\n': "line 2: an object, not a text",
        '{"prompt": "a"}\n[1]\n': "line 2: a list, not an object",
        '{"prompt": "a"}\nnull\n': "line 2: null, not an object",
        '{"prompt": "a"}\n{"prompt": 7}\n': "line 2, 'prompt': a number, not a text",
        '{"prompt": ["a", ["b"]]}\n': "line 1, 'prompt': a list, not a text",
        '{"prompt": "\\ud800"}\n': "row 1: half a surrogate pair",
        '{"prompt": "a\\u0000"}\n': "row 1: NUL character",
        "[" * 100_000: "line 1: broken JSON",
    }
    for content, message in refused.items():
        assert message in refusal(written(tmp_path / "a.jsonl", content))
    assert "name it .jsonl" in refusal(written(tmp_path / "a.json", '{"prompt": "a"}\n{"prompt": "b"}\n'))
    assert "holds an object, not a list" in refusal(written(tmp_path / "b.json", '{"prompt": {"0": "a"}}'))
    assert "record 2: a number, not a text" in refusal(written(tmp_path / "c.json", '["a", 1]'))


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.ndjson", "a.json"])
@pytest.mark.parametrize("content", ["", "\ufeff", "\n \r\n", "\n\n\n"])
def test_a_file_without_prompts_is_refused(tmp_path: Path, name: str, content: str) -> None:
    assert "no prompts" in refusal(written(tmp_path / name, content))


def test_a_file_whose_rows_have_no_text_is_refused(tmp_path: Path) -> None:
    assert "no prompts, 0 rows" in refusal(written(tmp_path / "a.csv", "id,prompt\n"))
    assert "no prompts, 2 rows" in refusal(written(tmp_path / "b.csv", "id,prompt\n1,\n2, \n"))
    assert "no prompts, 0 rows" in refusal(written(tmp_path / "a.json", "[]"))
    assert "no prompts, 2 rows" in refusal(parquet_file(tmp_path / "a.parquet", "text", [None, None], pa.null()))


def test_bytes_other_than_utf8_text_are_refused_with_their_offset(tmp_path: Path) -> None:
    latin = "naïve\ncafé".encode("latin-1")
    assert "line 1: invalid UTF-8 at byte offset 2" in refusal(written(tmp_path / "a.txt", latin))
    assert "line 2: NUL byte at byte offset 9" in refusal(written(tmp_path / "b.txt", "\ufeffone\ntw\0"))
    assert "looks like UTF-16LE" in refusal(written(tmp_path / "c.csv", "prompt\na".encode("utf-16-le")))
    assert "add .gz" in refusal(written(tmp_path / "d.csv", gzip.compress(b"prompt\na")))
    assert "spreadsheet" in refusal(written(tmp_path / "e.csv", b"PK\x03\x04\x14\0"))


def test_broken_gzip_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"a cat\n" * 99)
    for content in (b"a cat\n", whole[:-9], whole[:20] + b"\xff" * 20, b""):
        path = written(tmp_path / "a.txt.gz", content)
        assert ("no prompts" if not content else "broken gzip") in refusal(path)


def test_parquet_without_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    assert "'text' holds int64, not text" in refusal(str(tmp_path / "a.parquet"))
    for content in (b"", b"PAR1 and no more", b"text\n"):
        assert "broken Parquet" in refusal(written(tmp_path / "b.parquet", content))
    invalid = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff"))
    pq.write_table(pa.table({"text": invalid}), tmp_path / "c.parquet")
    assert "record 2: invalid UTF-8" in refusal(str(tmp_path / "c.parquet"))


def test_a_folder_without_prompt_files_is_refused(tmp_path: Path) -> None:
    assert "nor a .parquet file" in refusal(str(tmp_path))


def test_unreadable_paths_are_refused_in_one_line(tmp_path: Path) -> None:
    for name in ("missing.txt", "missing.parquet", "missing", "missing.csv.gz"):
        assert "No such file" in refusal(str(tmp_path / name))
    for name in ("a.xlsx", "a", "a.parquet.gz", "a.gz"):
        message = refusal(written(tmp_path / name, b"x"))
        assert "unknown prompt format" in message
        assert ".ndjson" in message
    refusal("")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "a cat")
    Path(path).chmod(0)
    assert "Permission denied" in refusal(path)


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": "b", "n": 1, "prompt": "c"}\n', ", line 2"),
        ("a.json", '[{"n": 1, "prompt": "b", "prompt": "c"}]', ""),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, name: str, text: str, where: str) -> None:
    path = written(tmp_path / name, text)
    assert refusal(path) == f"{path}{where}: an object has 'prompt' twice; keep one, or write a list of both"
