"""Captions are found where data sets keep them: lists, COCO's annotations, and columns with other names."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.audit.prompts.labels import read_labels
from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import refusal, texts_of, written

LISTS = [["a cat", "a small cat"], ["a dog", None, "a cat"], [], None]


def test_every_text_of_a_list_is_a_prompt_of_its_row(tmp_path: Path) -> None:
    rows = [{"file_name": f"{i}.png", "text": texts} for i, texts in enumerate(LISTS)]
    cells = [["id", "text"], *([str(i), json.dumps(texts)] for i, texts in enumerate(LISTS[:2]))]
    paths = [
        written(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)),
        written(tmp_path / "a.json", json.dumps(rows)),
        written(tmp_path / "b.json", json.dumps(LISTS)),
        written(tmp_path / "a.tsv", "\n".join("\t".join(row) for row in cells) + "\n\t\n\t\n"),
    ]
    for kind in (pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.string_view())):
        paths.append(str(tmp_path / f"{len(paths)}.parquet"))
        pq.write_table(pa.table({"id": range(4), "text": pa.array(LISTS, type=kind)}), paths[-1])
    for path in paths:
        prompts = read_prompts(path)
        assert texts_of(prompts) == ["a cat", "a small cat", "a dog"], path
        assert [prompt.n_duplicates for prompt in prompts.prompts] == [2, 1, 1], path
        assert (prompts.n_rows, prompts.n_empty) == (7, 3), path
        first = 2 if path.endswith(".tsv") else 1
        assert [prompt.source_row for prompt in prompts.prompts] == [first, first, first + 1], path


def test_lists_of_other_things_are_refused_with_their_row(tmp_path: Path) -> None:
    assert "line 1, 'text': a number, not a text" in refusal(written(tmp_path / "a.jsonl", '{"text": ["a", 1]}\n'))
    assert "record 2: a list, not a text" in refusal(written(tmp_path / "a.json", '[["a"], ["b", ["c"]]]'))
    python = written(tmp_path / "a.csv", "id,caption\n1,\"['a', 'b']\"\n2,\"['c']\"\n")
    assert "line 2: a list of captions that is not JSON" in refusal(python)
    pq.write_table(pa.table({"text": [[["a"]]]}), tmp_path / "a.parquet")
    assert "'text' holds list<" in refusal(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [{f"key_{i}": 1 for i in range(99)}]}), tmp_path / "a.parquet")
    assert len(refusal(tmp_path / "a.parquet")) < 400


def test_brackets_are_text_unless_every_cell_is_a_list(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'id,caption\n1,"[""a"", ""b""]"\n2,[photo] of a cat\n')
    assert texts_of(read_prompts(path)) == ['["a", "b"]', "[photo] of a cat"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    "value",
    [
        {
            "info": {},
            "images": [{"id": 1}],
            "annotations": [{"id": 1, "caption": "a cat"}, {"id": 2, "caption": "a dog"}],
        },
        {"data": [{"prompt": "a cat", "url": "u"}, {"prompt": "a dog"}]},
        {"prompts": ["a cat", "a dog"], "version": [1]},
        {"images": [{"id": 1, "sentences": ["a cat", "a dog"]}], "dataset": "coco"},
    ],
)
def test_the_one_list_of_captions_in_an_object_is_read(tmp_path: Path, name: str, value: object) -> None:
    assert texts_of(read_prompts(written(tmp_path / name, json.dumps(value)))) == ["a cat", "a dog"]


def test_an_object_without_one_list_of_captions_is_refused_with_its_keys(tmp_path: Path) -> None:
    instances = {"images": [{"id": 1}], "annotations": [{"id": 1, "bbox": []}]}
    for value in (instances, {"a": [{"prompt": "a"}], "b": [{"prompt": "b"}]}, {"1.jpg": "a cat"}):
        message = refusal(written(tmp_path / "a.json", json.dumps(value)))
        assert f"no list of captions under {', '.join(map(repr, value))}" in message
    assert texts_of(read_prompts(written(tmp_path / "b.json", json.dumps({"x": [{"title": "a"}]})), "title")) == ["a"]


def test_json_lines_that_are_one_json_value_say_so(tmp_path: Path) -> None:
    assert "name it .json" in refusal(written(tmp_path / "a.jsonl", json.dumps([{"text": "a"}], indent=1)))


@pytest.mark.parametrize("name", ["captions", "Prompts", "caption_0", "TEXT", "text 1", "comment"])
def test_similar_names_count_if_there_is_no_better_one(tmp_path: Path, name: str) -> None:
    assert texts_of(read_prompts(written(tmp_path / "a.csv", f"id,{name}\n1,a cat\n"))) == ["a cat"]
    path = written(tmp_path / "b.csv", f"{name if name != 'TEXT' else 'x'},prompt\nb,a cat\n")
    assert texts_of(read_prompts(path)) == ["a cat"]
    path = written(tmp_path / "c.csv", f"label,{name}\n1,a cat\n")
    assert list(read_labels(Path(path)).by_key) == ["a cat"]


def test_numbered_columns_are_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "caption_0,caption_1\na,b\n")
    assert "'caption_0' and 'caption_1'" in refusal(path)
    assert texts_of(read_prompts(path, "caption_1")) == ["b"]
    assert len(refusal(written(tmp_path / "b.csv", ",".join(f"caption_{i}" for i in range(9999)) + "\n"))) < 999


DEEP = "[" * 100_000


@pytest.mark.parametrize("content", [DEEP, '{"a":' * 100_000, f'[{{"text": {DEEP}', "[" * 990 + "]" * 990])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
def test_deep_json_is_refused(tmp_path: Path, name: str, content: str) -> None:
    refusal(written(tmp_path / name, content))


def test_deep_json_in_a_text_file_is_a_text(tmp_path: Path) -> None:
    assert texts_of(read_prompts(written(tmp_path / "a.txt", f"{DEEP}\n{DEEP}"))) == [DEEP]
