"""Reading a prompt file gives the texts that were written into it, with their rows, counts and ids."""

import csv
import gzip
import hashlib
import math
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import (
    NASTY,
    csv_text,
    jsonl_text,
    parquet_file,
    refusal,
    renderings,
    texts_of,
    written,
)

# Any character but NUL and halves of surrogate pairs; quotes, line breaks and delimiters are frequent.
any_text = st.text(
    st.one_of(st.sampled_from('",;\t\n\r ab\u2028\ufeff'), st.characters(codec="utf-8", exclude_characters="\0"))
)
# A cell with line breaks and tabs may be one that swallowed rows (test_quotes.py).
cell_text = any_text.map(str.strip).filter(lambda text: text and not ("\t" in text and {*"\r\n"} & {*text}))
any_texts = st.lists(cell_text, min_size=1, max_size=6, unique=True)
lines = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n")).map(str.strip).filter(bool),
    min_size=1,
    unique=True,
)


@settings(max_examples=30, deadline=None)
@given(texts=any_texts)
def test_every_format_gives_back_its_texts(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in renderings(texts).items():
            assert texts_of(read_prompts(written(Path(folder, name), content))) == texts, name
            zipped = written(Path(folder, name + ".gz"), gzip.compress(content.encode()))
            assert texts_of(read_prompts(zipped)) == texts, name
        assert texts_of(read_prompts(parquet_file(Path(folder, "a.parquet"), "Text", list(texts)))) == texts


@settings(max_examples=30, deadline=None)
@given(texts=lines, newline=st.sampled_from(["\n", "\r\n", "\r"]), ends=st.booleans())
def test_a_text_file_gives_back_its_lines(texts: list[str], newline: str, ends: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = "\ufeff" + newline.join(texts) + newline * ends
        prompts = read_prompts(written(Path(folder, "a.txt"), content))
        assert texts_of(prompts) == texts
        assert [prompt.source_row for prompt in prompts.prompts] == list(range(1, len(texts) + 1))


@pytest.mark.parametrize("name", sorted(renderings(["x"])))
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_nasty_texts_are_read_with_and_without_a_byte_order_mark(tmp_path: Path, name: str, mark: str) -> None:
    path = written(tmp_path / name, mark + renderings(NASTY)[name])
    assert texts_of(read_prompts(path)) == NASTY


def test_duplicates_appear_once_at_their_first_row_and_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "a cat\n\n a dog \na cat \n \t\na cat\na  dog\nA cat")
    prompts = read_prompts(path)
    assert [(p.text, p.source_row, p.n_duplicates) for p in prompts.prompts] == [
        ("a cat", 1, 3),
        ("a dog", 3, 1),
        ("a  dog", 7, 1),
        ("A cat", 8, 1),
    ]
    assert (prompts.n_rows, prompts.n_empty, prompts.n_duplicates) == (8, 2, 2)
    assert all(p.source_file == path == prompts.source for p in prompts.prompts)


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.sampled_from(["a", " a", "b ", "c", "", "  "])).filter(lambda t: any(map(str.strip, t))))
def test_every_row_is_a_prompt_or_empty_or_a_duplicate(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in renderings(texts).items():
            prompts = read_prompts(written(Path(folder, name), content))
            assert prompts.n_rows == len(texts), name
            assert prompts.n_rows == len(prompts.prompts) + prompts.n_empty + prompts.n_duplicates, name
            assert sum(p.n_duplicates for p in prompts.prompts) == prompts.n_rows - prompts.n_empty, name


def test_the_prompt_id_depends_on_the_stripped_text_alone(tmp_path: Path) -> None:
    expected = hashlib.sha256("café  au lait".encode()).hexdigest()[:16]
    paths = [
        written(tmp_path / "a.txt", "first\n  café  au lait\n"),
        written(tmp_path / "a.jsonl", '{"prompt": "caf\\u00e9  au lait\\n"}'),
        parquet_file(tmp_path / "a.parquet", "caption", ["café  au lait"]),
    ]
    assert {read_prompts(path).prompts[-1].prompt_id for path in paths} == {expected}


def test_source_row_is_the_line_on_which_the_record_starts(tmp_path: Path) -> None:
    content = 'id,prompt\r\n1,"two\r\nlines"\r\n\r\n2,"x\n\n"\r\n3,last\r\n'
    rows = [p.source_row for p in read_prompts(written(tmp_path / "a.csv", content)).prompts]
    assert rows == [2, 5, 8]
    rows = [p.source_row for p in read_prompts(written(tmp_path / "a.jsonl", '\n"a"\n\n"b"\n')).prompts]
    assert rows == [2, 4]
    rows = [p.source_row for p in read_prompts(written(tmp_path / "a.json", '[\n\n"a",\n"",\n"b"]')).prompts]
    assert rows == [1, 3]
    rows = [p.source_row for p in read_prompts(parquet_file(tmp_path / "a.parquet", "text", ["a", None, "b"])).prompts]
    assert rows == [1, 3]


def test_missing_texts_are_counted_as_empty(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "a.csv", "id,prompt,url\n1,,u\n2\n3,a cat,u\n4,  ,\n"),
        written(tmp_path / "a.jsonl", '{"prompt": null}\n{"prompt": NaN}\n{"prompt": "a cat"}\n{"id": 1}\n'),
        written(tmp_path / "a.json", '[null, "", "a cat", "  "]'),
        parquet_file(tmp_path / "a.parquet", "prompt", [None, "", "a cat", "\t"]),
    ]
    for prompts in map(read_prompts, paths):
        assert (texts_of(prompts), prompts.n_rows, prompts.n_empty) == (["a cat"], 4, 3), prompts.source


def test_words_that_programs_write_for_missing_texts_are_kept_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pd.DataFrame({"prompt": ["a cat", None, "null", math.nan, "nanny"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "filled.csv", index=False, na_rep="NaN")
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        caplog.clear()
        prompts = read_prompts(str(tmp_path / name))
        assert (texts_of(prompts), prompts.n_empty) == (["a cat", "null", "nanny"], 2)
        assert [message.partition("counts")[0] for message in caplog.messages] == [f"{tmp_path / name}: 'null' "]
    caplog.clear()
    assert texts_of(read_prompts(str(tmp_path / "filled.csv"))) == ["a cat", "NaN", "null", "nanny"]
    assert "'NaN' counts as a prompt (2 rows, first row 3)" in caplog.messages[0]


@pytest.mark.parametrize(
    ("name", "part", "texts", "expected"),
    [
        (
            "a.csv",
            "prompt,id\na cat,1\n",
            ["a cat", "\ufeffprompt"],
            "it where it is the header of a table that was appended",
        ),
        (
            "a.txt",
            "a cat\na dog\n",
            ["a cat", "a dog", "\ufeffa cat"],
            "the byte order mark before it, as of a file that was",
        ),
    ],
)
def test_what_joined_files_leave_among_the_prompts_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, part: str, texts: list[str], expected: str
) -> None:
    (tmp_path / name).write_bytes(2 * part.encode("utf-8-sig"))
    assert texts_of(read_prompts(str(tmp_path / name))) == texts
    (message,) = caplog.messages
    assert f"{texts[-1]!r} counts as a prompt (1 rows, first row 3); remove {expected}" in message


def test_spaces_after_the_delimiter_do_not_belong_to_the_cells(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'id, "prompt"\n1, "a cat, sitting"\n')
    assert texts_of(read_prompts(path)) == ["a cat, sitting"]


def test_long_cells_are_read_and_the_limit_of_the_csv_module_is_restored(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "word " * 60_000 + "end"
    assert texts_of(read_prompts(written(tmp_path / "a.csv", csv_text([["prompt", "id"], [long, "1"]])))) == [long]
    refusal(written(tmp_path / "b.csv", f'prompt,id\n{long},1\n"x'))
    assert csv.field_size_limit() == limit


def test_parquet_texts_of_every_string_type_are_read(tmp_path: Path) -> None:
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        assert texts_of(read_prompts(parquet_file(tmp_path / "a.parquet", "text", [*NASTY, None], kind))) == NASTY


def test_a_folder_of_parquet_files_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    second = parquet_file(tmp_path / "part-1.parquet", "TEXT", ["c", "a"])
    first = parquet_file(tmp_path / "part-0.PARQUET", "TEXT", ["a", "b", None])
    written(tmp_path / "._part-0.parquet", b"left by a file manager")
    written(tmp_path / "00000.tar", b"")
    prompts = read_prompts(str(tmp_path))
    assert [(p.text, p.source_file, p.source_row, p.n_duplicates) for p in prompts.prompts] == [
        ("a", first, 1, 2),
        ("b", first, 2, 1),
        ("c", second, 1, 1),
    ]
    listing = [f"{hashlib.sha256(Path(p).read_bytes()).hexdigest()}  {Path(p).name}\n" for p in (first, second)]
    assert prompts.sha256 == hashlib.sha256("".join(listing).encode()).hexdigest()


def test_an_imagefolder_is_read_from_its_metadata(tmp_path: Path) -> None:
    rows = [["file_name", "text"], ["0.png", "a cat"], ["1.png", "a dog, barking"]]
    objects = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    writers = {
        "csv": lambda path: written(path, csv_text(rows)),
        "jsonl": lambda path: written(path, jsonl_text(objects)),
    }
    writers["parquet"] = lambda path: pq.write_table(pa.Table.from_pylist(objects), path)
    for suffix, write in writers.items():
        folder = tmp_path / suffix
        folder.mkdir()
        write(folder / f"metadata.{suffix}")
        written(folder / "0.png", b"\x89PNG")
        prompts = read_prompts(str(folder))
        assert texts_of(prompts) == ["a cat", "a dog, barking"]
        assert prompts.prompts[0].source_file == str(folder / f"metadata.{suffix}")
    written(tmp_path / "csv" / "metadata.jsonl", jsonl_text(objects))
    assert "metadata.csv and metadata.jsonl" in refusal(str(tmp_path / "csv"))


def test_sha256_covers_the_raw_bytes_and_suffixes_may_be_capital(tmp_path: Path) -> None:
    data = gzip.compress("\ufeffa cat\r\n".encode())
    path = written(tmp_path / "PROMPTS.v1.TXT.GZ", data)
    assert read_prompts(path).sha256 == hashlib.sha256(data).hexdigest()
    assert texts_of(read_prompts(path)) == ["a cat"]
