"""The column of the prompts is recognised or named, and what has no such column is refused."""

from pathlib import Path

import pytest

from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import jsonl_text, parquet_file, refusal, texts_of, written


@pytest.mark.parametrize("name", ["prompt", "Prompt", "text", "TEXT", "caption", "Caption"])
def test_the_usual_column_names_are_recognised_in_any_case(tmp_path: Path, name: str) -> None:
    paths = [
        written(tmp_path / "a.csv", f"id, {name} ,url\n1,a cat,u\n"),
        written(tmp_path / "a.jsonl", jsonl_text([{"id": 1}, {name: "a cat"}])),
        parquet_file(tmp_path / "a.parquet", name, ["a cat"]),
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
    assert "'id', 'title'" in refusal(parquet_file(tmp_path / "a.parquet", "title", ["a"]))
    assert "'c0'" in refusal(written(tmp_path / "a.jsonl", jsonl_text([{f"c{i}": "a" for i in range(99)}])))
    assert len(refusal(written(tmp_path / "c.csv", "word " * 9999))) < 999


def test_a_column_named_for_a_file_without_columns_is_refused(tmp_path: Path) -> None:
    for name, content in (("a.txt", "a cat"), ("a.jsonl", '"a cat"'), ("a.json", '["a cat"]')):
        assert "drop --text-column" in refusal(written(tmp_path / name, content), "prompt")


def test_commas_in_a_csv_with_a_single_column_are_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'caption\na cat, sitting; asleep\n"a ""big"" dog, barking"\n')
    assert texts_of(read_prompts(path)) == ["a cat, sitting; asleep", 'a "big" dog, barking']


def test_a_folder_whose_files_disagree_on_the_column_is_refused(tmp_path: Path) -> None:
    parquet_file(tmp_path / "0.parquet", "text", ["a"])
    parquet_file(tmp_path / "1.parquet", "caption", ["b"])
    assert "'text' in 0.parquet, 'caption' in 1.parquet" in refusal(str(tmp_path))
