"""Tables in disguise are refused with the command or the name that makes them readable; prompts are not."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import refusal, texts_of, written

ROWS = [("1.jpg", "A child in a pink dress ."), ("1.jpg", "A girl going in ."), ("2.jpg", "A dog .")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [("image", "caption"), ("Image Name", " Captions"), ("url", "TEXT")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_named_txt_says_its_name(
    tmp_path: Path, delimiter: str, header: tuple[str, str], encoding: str
) -> None:
    text = "".join(delimiter.join(row) + "\n" for row in [header, *ROWS])
    path = Path(written(tmp_path / "captions.txt", text.encode(encoding)))
    message = refusal(path)
    assert "looks like a table" in message
    renamed = path.rename(path.with_suffix(message.rpartition("name it ")[2]))
    assert len(texts_of(read_prompts(str(renamed)))) == 3


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        ("caption\na cat\na dog\n", ".csv"),
        ('{"text": "a cat"}\n{"text": "a dog"}\n', ".jsonl"),
        ('["a cat",\n"a dog"]\n', ".json"),
        ('[\n{"text": "a cat"},\n{"text": "a dog"}\n]', ".json"),
        ('image,caption\n1.jpg,"a cat"\n2.jpg,"a dog"\n', ".csv"),
    ],
)
def test_other_formats_named_txt_say_their_name(tmp_path: Path, content: str, suffix: str) -> None:
    path = Path(written(tmp_path / "a.txt", content))
    message = refusal(path)
    assert f"name it {suffix}" in message
    assert texts_of(read_prompts(str(path.rename(path.with_suffix(suffix))))) == ["a cat", "a dog"]


@pytest.mark.parametrize("name", ["no header.csv", "a.tsv", "a.txt"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("other", ["http://x/{}.jpg", "{}.jpg", "{}.jpg#0"])
@pytest.mark.parametrize("at_end", [False, True])
def test_a_table_without_header_comes_with_the_command_that_names_its_columns(
    tmp_path: Path, name: str, delimiter: str, other: str, at_end: bool
) -> None:
    captions = ["a very typical bus station", "a cat", "a dog"]
    rows = [(other.format(i), caption) for i, caption in enumerate(captions)]
    content = "".join(delimiter.join(row[::-1] if at_end else row) + "\n" for row in rows)
    message = refusal(written(tmp_path / name, content))
    assert "no header" in message
    subprocess.run(message.partition("': ")[2], shell=True, check=True, cwd=tmp_path)
    (named,) = tmp_path.glob("*-named.*")
    assert texts_of(read_prompts(str(named))) == captions


@pytest.mark.parametrize("at_end", [False, True])
def test_unquoted_captions_beside_file_names_come_with_the_command_that_separates_them(
    tmp_path: Path, at_end: bool
) -> None:
    captions = ["a cat, sitting", "a dog", "a bird, small, blue"]
    rows = [(f"{i}.jpg", caption) for i, caption in enumerate(captions)]
    content = "".join(",".join(row[::-1] if at_end else row) + "\n" for row in rows)
    message = refusal(written(tmp_path / "a.txt", content))
    assert "captions that hold ','" in message
    subprocess.run(message.partition("': ")[2], shell=True, check=True, cwd=tmp_path)
    assert texts_of(read_prompts(str(tmp_path / "a-named.tsv"))) == captions


@pytest.mark.parametrize(
    "lines",
    [
        ["text, sign, neon", "1girl, solo", "a, b, c, d"],
        ["a cat, sitting", "a dog, barking", "a fox, red"],
        ["photo.jpg, a cat", "a dog", "a fox"],
        ["[photo] of a cat", "{cat|dog}", "<lora:x:1>, a cat"],
        ['"a cat"', '"a dog"'],
        ["1, 2, 3", "4, 5, 6"],
        ["prompt"],
        ["a | b", "c | d"],
        ["a\tb", "c\td"],
        ["{a}", "{b}"],
    ],
)
def test_prompts_with_commas_and_brackets_are_prompts(tmp_path: Path, lines: list[str]) -> None:
    assert texts_of(read_prompts(written(tmp_path / "a.txt", "\n".join(lines)))) == lines


@settings(max_examples=100, deadline=None)
@given(
    lines=st.lists(
        st.text(st.sampled_from('a b,;|"[{'), min_size=1).map(str.strip).filter(bool), unique=True, min_size=1
    )
)
def test_lines_without_names_are_prompts(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = written(tmp_path_factory.mktemp("lines") / "a.txt", "\n".join(lines))
    assert texts_of(read_prompts(path)) == lines


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;", "\ufeffsep=;"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_separator_line_of_a_spreadsheet_names_the_delimiter(tmp_path: Path, line: str, ending: str) -> None:
    content = ending.join([line, "prompt;n", "a red fox, sitting;1", "a dog;2", ""])
    prompts = read_prompts(written(tmp_path / "a.csv", content))
    assert [(p.text, p.source_row) for p in prompts.prompts] == [("a red fox, sitting", 3), ("a dog", 4)]


@pytest.mark.parametrize("delimiter", [",", "\t", "|", "^", "~"])
def test_any_separator_may_be_named(tmp_path: Path, delimiter: str) -> None:
    path = written(tmp_path / "a.csv", f"sep={delimiter}\nid{delimiter}prompt\n1{delimiter}a cat\n")
    assert texts_of(read_prompts(path)) == ["a cat"]


def test_a_pipe_in_a_name_is_no_delimiter(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "id,caption,a|b\n1,a | cat,x\n")
    assert texts_of(read_prompts(path)) == ["a | cat"]
    assert texts_of(read_prompts(written(tmp_path / "b.csv", "caption|en,n|m|o\na,b\n"), "caption|en")) == ["a"]


def test_columns_named_by_numbers_are_columns(tmp_path: Path) -> None:
    assert "choose one of these" in refusal(written(tmp_path / "a.csv", ",0\n0,a cat\n"))
