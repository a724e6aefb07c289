"""Reading a prompt file gives the texts that were written into it, or an error that says how to repair it."""

import csv
import gzip
import hashlib
import io
import json
import math
import os
import string
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import refusal, texts_of, written
from tests.paths import ROOT

REAL_FILES = ROOT.parent / "shared" / "data" / "prompts"
NASTY = [
    'a "quoted" word, and a comma; a semicolon\tand a tab',
    "two\nlines",
    "three\r\nWindows lines",
    "a lone\rcarriage return",
    "Żółć 北京 🎨 \u2028 \x0b \x85 inside",
    "null",
    "NaN",
    '"fully quoted"',
    "=formula, 'single'",
    "\ufeffmark inside",
]


def _csv(rows: list[list[str]], delimiter: str = ",") -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter).writerows(rows)
    return buffer.getvalue()


def _jsonl(values: list[object]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def _parquet(path: Path, name: str, texts: list[str | None], kind: pa.DataType | None = None) -> str:
    pq.write_table(pa.table({"id": range(len(texts)), name: pa.array(texts, type=kind or pa.string())}), path)
    return str(path)


def _give_stdin(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def _renderings(texts: list[str]) -> dict[str, str]:
    """Render the texts in every format whose cells may hold any character."""
    wide = [["", "Caption", "url"], *([str(i), text, "u"] for i, text in enumerate(texts))]
    return {
        "comma.csv": _csv(wide),
        "semicolon.csv": _csv(wide, ";"),
        "tab.csv": _csv(wide, "\t"),
        "tab.tsv": _csv(wide, "\t"),
        "narrow.csv": _csv([["caption"], *([text] for text in texts)]),
        "objects.jsonl": _jsonl([{"prompt": text, "i": 1} for text in texts]),
        "strings.ndjson": _jsonl(list(texts)),
        "strings.json": json.dumps(texts),
        "objects.json": json.dumps([{"TEXT": text} for text in texts], indent=1),
    }


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
        for name, content in _renderings(texts).items():
            assert texts_of(read_prompts(written(Path(folder, name), content))) == texts, name
            zipped = written(Path(folder, name + ".gz"), gzip.compress(content.encode()))
            assert texts_of(read_prompts(zipped)) == texts, name
        assert texts_of(read_prompts(_parquet(Path(folder, "a.parquet"), "Text", list(texts)))) == texts


@settings(max_examples=30, deadline=None)
@given(texts=lines, newline=st.sampled_from(["\n", "\r\n", "\r"]), ends=st.booleans())
def test_a_text_file_gives_back_its_lines(texts: list[str], newline: str, ends: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = "\ufeff" + newline.join(texts) + newline * ends
        prompts = read_prompts(written(Path(folder, "a.txt"), content))
        assert texts_of(prompts) == texts
        assert [prompt.source_row for prompt in prompts.prompts] == list(range(1, len(texts) + 1))


@pytest.mark.parametrize("name", sorted(_renderings(["x"])))
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_nasty_texts_are_read_with_and_without_a_byte_order_mark(tmp_path: Path, name: str, mark: str) -> None:
    path = written(tmp_path / name, mark + _renderings(NASTY)[name])
    assert texts_of(read_prompts(path)) == NASTY


@pytest.mark.parametrize("name", sorted(_renderings(["x"])))
def test_standard_input_gives_what_the_named_file_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    content = _renderings(NASTY)[name]
    from_file = read_prompts(written(tmp_path / name, content))
    for data in (content.encode(), gzip.compress(content.encode())):
        _give_stdin(monkeypatch, data)
        from_stdin = read_prompts("-")
        assert texts_of(from_stdin) == texts_of(from_file)
        assert from_stdin.text_column == from_file.text_column
        assert from_stdin.sha256 == hashlib.sha256(data).hexdigest()
        assert from_stdin.source == from_stdin.prompts[0].source_file == "standard input"


@pytest.mark.parametrize("first", ["[photo] of a cat, sitting", "{cat|dog} on a mat", '"Hi" she said', "a; b"])
def test_standard_input_of_plain_lines_is_read_as_txt(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    _give_stdin(monkeypatch, f"{first}\nsecond line\n")
    assert texts_of(read_prompts("-")) == [first, "second line"]


def test_broken_json_on_standard_input_is_not_read_as_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in ('["a cat",\n"a dog"', '{"prompt": "a cat"}\n{"prompt": \n'):
        _give_stdin(monkeypatch, content)
        assert "broken JSON" in refusal("-")


def test_a_named_column_is_found_in_the_header_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    _give_stdin(monkeypatch, "id;title\n1;a cat\n")
    assert texts_of(read_prompts("-", "title")) == ["a cat"]
    _give_stdin(monkeypatch, "id;title\n1;a cat\n")
    assert "--text-column" in refusal("-", "name")


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
        for name, content in _renderings(texts).items():
            prompts = read_prompts(written(Path(folder, name), content))
            assert prompts.n_rows == len(texts), name
            assert prompts.n_rows == len(prompts.prompts) + prompts.n_empty + prompts.n_duplicates, name
            assert sum(p.n_duplicates for p in prompts.prompts) == prompts.n_rows - prompts.n_empty, name


def test_the_prompt_id_depends_on_the_stripped_text_alone(tmp_path: Path) -> None:
    expected = hashlib.sha256("café  au lait".encode()).hexdigest()[:16]
    paths = [
        written(tmp_path / "a.txt", "first\n  café  au lait\n"),
        written(tmp_path / "a.jsonl", '{"prompt": "caf\\u00e9  au lait\\n"}'),
        _parquet(tmp_path / "a.parquet", "caption", ["café  au lait"]),
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
    rows = [p.source_row for p in read_prompts(_parquet(tmp_path / "a.parquet", "text", ["a", None, "b"])).prompts]
    assert rows == [1, 3]


def test_missing_texts_are_counted_as_empty(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "a.csv", "id,prompt,url\n1,,u\n2\n3,a cat,u\n4,  ,\n"),
        written(tmp_path / "a.jsonl", '{"prompt": null}\n{"prompt": NaN}\n{"prompt": "a cat"}\n{"id": 1}\n'),
        written(tmp_path / "a.json", '[null, "", "a cat", "  "]'),
        _parquet(tmp_path / "a.parquet", "prompt", [None, "", "a cat", "\t"]),
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


@pytest.mark.parametrize("name", ["prompt", "Prompt", "text", "TEXT", "caption", "Caption"])
def test_the_usual_column_names_are_recognised_in_any_case(tmp_path: Path, name: str) -> None:
    paths = [
        written(tmp_path / "a.csv", f"id, {name} ,url\n1,a cat,u\n"),
        written(tmp_path / "a.jsonl", _jsonl([{"id": 1}, {name: "a cat"}])),
        _parquet(tmp_path / "a.parquet", name, ["a cat"]),
    ]
    for prompts in map(read_prompts, paths):
        assert (prompts.text_column or "").strip() == name
        assert texts_of(prompts) == ["a cat"]


def test_a_named_column_takes_precedence_and_is_matched_exactly(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "prompt;Title;title\np;T;t\n")
    assert texts_of(read_prompts(path)) == ["p"]
    assert texts_of(read_prompts(path, "title")) == ["t"]
    assert "'TITLE' among 'prompt', 'Title', 'title'" in refusal(path, "TITLE")


def test_two_candidate_columns_are_refused_by_name(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "a.csv", "prompt,Caption\na,b\n"),
        written(tmp_path / "a.jsonl", '{"prompt": "a"}\n{"Caption": "b"}\n'),
    ]
    for path in paths:
        message = refusal(path)
        assert "'prompt' and 'Caption'" in message
        assert "--text-column" in message
        assert texts_of(read_prompts(path, "Caption")) == ["b"]
    assert "2 columns are named 'text'; rename" in refusal(written(tmp_path / "b.csv", "text,text\na,b\n"))


def test_a_file_without_a_candidate_column_is_refused_with_its_columns(tmp_path: Path) -> None:
    assert "'id', 'title'" in refusal(written(tmp_path / "a.csv", "id\ttitle\n1\ta, b\n"))
    assert "'A photo of a cat'" in refusal(written(tmp_path / "b.csv", "A photo of a cat\nA dog\n"))
    assert "'id', 'title'" in refusal(_parquet(tmp_path / "a.parquet", "title", ["a"]))
    assert "'c0'" in refusal(written(tmp_path / "a.jsonl", _jsonl([{f"c{i}": "a" for i in range(99)}])))
    assert len(refusal(written(tmp_path / "c.csv", "word " * 9999))) < 999


def test_a_column_named_for_a_file_without_columns_is_refused(tmp_path: Path) -> None:
    for name, content in (("a.txt", "a cat"), ("a.jsonl", '"a cat"'), ("a.json", '["a cat"]')):
        assert "drop --text-column" in refusal(written(tmp_path / name, content), "prompt")


def test_commas_in_a_csv_with_a_single_column_are_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'caption\na cat, sitting; asleep\n"a ""big"" dog, barking"\n')
    assert texts_of(read_prompts(path)) == ["a cat, sitting; asleep", 'a "big" dog, barking']


def test_spaces_after_the_delimiter_do_not_belong_to_the_cells(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'id, "prompt"\n1, "a cat, sitting"\n')
    assert texts_of(read_prompts(path)) == ["a cat, sitting"]


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


def test_long_cells_are_read_and_the_limit_of_the_csv_module_is_restored(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "word " * 60_000 + "end"
    assert texts_of(read_prompts(written(tmp_path / "a.csv", _csv([["prompt", "id"], [long, "1"]])))) == [long]
    refusal(written(tmp_path / "b.csv", f'prompt,id\n{long},1\n"x'))
    assert csv.field_size_limit() == limit


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
    assert "no prompts, 2 rows" in refusal(_parquet(tmp_path / "a.parquet", "text", [None, None], pa.null()))


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


def test_parquet_texts_of_every_string_type_are_read(tmp_path: Path) -> None:
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        assert texts_of(read_prompts(_parquet(tmp_path / "a.parquet", "text", [*NASTY, None], kind))) == NASTY


def test_parquet_without_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    assert "'text' holds int64, not text" in refusal(str(tmp_path / "a.parquet"))
    for content in (b"", b"PAR1 and no more", b"text\n"):
        assert "broken Parquet" in refusal(written(tmp_path / "b.parquet", content))
    invalid = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff"))
    pq.write_table(pa.table({"text": invalid}), tmp_path / "c.parquet")
    assert "record 2: invalid UTF-8" in refusal(str(tmp_path / "c.parquet"))


def test_a_folder_of_parquet_files_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    second = _parquet(tmp_path / "part-1.parquet", "TEXT", ["c", "a"])
    first = _parquet(tmp_path / "part-0.PARQUET", "TEXT", ["a", "b", None])
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


def test_a_folder_whose_files_disagree_on_the_column_is_refused(tmp_path: Path) -> None:
    _parquet(tmp_path / "0.parquet", "text", ["a"])
    _parquet(tmp_path / "1.parquet", "caption", ["b"])
    assert "'text' in 0.parquet, 'caption' in 1.parquet" in refusal(str(tmp_path))


def test_an_imagefolder_is_read_from_its_metadata(tmp_path: Path) -> None:
    rows = [["file_name", "text"], ["0.png", "a cat"], ["1.png", "a dog, barking"]]
    objects = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    writers = {
        "csv": lambda path: written(path, _csv(rows)),
        "jsonl": lambda path: written(path, _jsonl(objects)),
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
    written(tmp_path / "csv" / "metadata.jsonl", _jsonl(objects))
    assert "metadata.csv and metadata.jsonl" in refusal(str(tmp_path / "csv"))


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


def test_sha256_covers_the_raw_bytes_and_suffixes_may_be_capital(tmp_path: Path) -> None:
    data = gzip.compress("\ufeffa cat\r\n".encode())
    path = written(tmp_path / "PROMPTS.v1.TXT.GZ", data)
    assert read_prompts(path).sha256 == hashlib.sha256(data).hexdigest()
    assert texts_of(read_prompts(path)) == ["a cat"]


@pytest.mark.parametrize(
    ("name", "n_rows", "text_column"),
    [
        ("nemo_memorized_laion_prompts.csv", 500, "Caption"),
        ("nemo_unmemorized_laion_prompts.csv", 500, "Caption"),
        ("wen_sdv1_500_memorized.jsonl", 500, "caption"),
        ("jeon_sd2_mem.jsonl", 219, "caption"),
        ("jeon_sd1_nmem.txt", 500, None),
    ],
)
def test_published_files_are_read_completely(
    monkeypatch: pytest.MonkeyPatch, name: str, n_rows: int, text_column: str | None
) -> None:
    path = REAL_FILES / name
    if not path.exists():
        pytest.skip("the published prompt files are not beside the repository")
    prompts = read_prompts(str(path))
    assert (prompts.n_rows, prompts.n_empty, prompts.text_column) == (n_rows, 0, text_column)
    _give_stdin(monkeypatch, path.read_bytes())
    assert texts_of(read_prompts("-")) == texts_of(prompts)


def test_the_published_lists_of_the_same_prompts_give_the_same_ids() -> None:
    paths = [REAL_FILES / name for name in ("nemo_memorized_laion_prompts.csv", "wen_sdv1_500_memorized.jsonl")]
    if not all(path.exists() for path in paths):
        pytest.skip("the published prompt files are not beside the repository")
    nemo, wen = ({p.prompt_id for p in read_prompts(str(path)).prompts} for path in paths)
    assert len(nemo & wen) > 450
    assert all(len(i) == 16 and set(i) <= set(string.hexdigits) for i in nemo)


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
