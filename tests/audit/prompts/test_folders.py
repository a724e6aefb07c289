"""A folder is read as the data set it is, or refused with the paths or the command that can be read."""

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import refusal, texts_of, written


def saved_to_disk(folder: Path, parts: list[list[str]]) -> Path:
    """What `save_to_disk` of Hugging Face's datasets writes: Arrow streams and their list."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{len(parts):05}.arrow" for i in range(len(parts))]
    for name, texts in zip(names, parts, strict=True):
        table = pa.table({"id": range(len(texts)), "text": texts})
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_indices_files": None, "_split": "train"}
    written(folder / "state.json", json.dumps(state))
    written(folder / "dataset_info.json", "{}")
    return folder


def sidecars(folder: Path, texts: dict[str, str], suffix: str = ".txt", image: str = ".png") -> Path:
    for name, text in texts.items():
        written(folder / f"{name}{image}", b"")
        written(folder / f"{name}{suffix}", text)
    return folder


def test_a_data_set_saved_to_disk_is_read_without_its_caches(tmp_path: Path) -> None:
    folder = saved_to_disk(tmp_path / "d", [["a cat", "a dog"], ["a cat", "a fox"]])
    written(folder / "cache-1234.arrow", b"left by map")
    prompts = read_prompts(str(folder))
    assert texts_of(prompts) == ["a cat", "a dog", "a fox"]
    assert prompts.n_rows == 4
    assert texts_of(read_prompts(str(folder / "data-00001-of-00002.arrow"))) == ["a cat", "a fox"]
    (folder / "state.json").unlink()
    assert texts_of(read_prompts(str(folder))) == ["a cat", "a dog", "a fox"]


def test_an_arrow_file_with_a_footer_is_read_like_a_stream(tmp_path: Path) -> None:
    table = pa.table({"image": [b"x"] * 3, "captions": [["a cat", "a dog"], None, ["a fox"]]})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    prompts = read_prompts(str(tmp_path / "a.arrow"))
    assert (texts_of(prompts), prompts.n_empty) == (["a cat", "a dog", "a fox"], 1)


def test_state_that_names_no_files_or_files_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = saved_to_disk(tmp_path / "d", [["a cat"]])
    outside = saved_to_disk(tmp_path / "e", [["a secret"]])
    name = f"../{outside.name}/data-00000-of-00001.arrow"
    states = [{"_data_files": [{"filename": name}]}, {"_data_files": [{"filename": 3}]}, {"_data_files": 3}, [], {}]
    for state in [*map(json.dumps, states), "[" * 100_000, "\x00", ""]:
        written(folder / "state.json", state)
        assert "save the data set again" in refusal(folder)
    written(folder / "state.json", json.dumps({"_data_files": [], "_indices_files": [{"filename": "indices.arrow"}]}))
    assert "flatten_indices" in refusal(folder)


def test_splits_are_refused_by_name_and_the_only_subfolder_is_read(tmp_path: Path) -> None:
    written(tmp_path / "dataset_dict.json", '{"splits": ["train", "test"]}')
    train = saved_to_disk(tmp_path / "train", [["a cat"]])
    assert texts_of(read_prompts(str(tmp_path))) == ["a cat"]
    test = saved_to_disk(tmp_path / "test", [["a dog"]])
    message = refusal(tmp_path)
    assert f"give one of them: {test}, {train}" in message


@pytest.mark.parametrize("path", ["train/metadata.jsonl", "data/train-00000-of-00001.parquet", "a/b/c/1.txt"])
def test_prompts_in_the_only_subfolder_are_read(tmp_path: Path, path: str) -> None:
    file = tmp_path / path
    match file.suffix:
        case ".jsonl":
            written(file, '{"file_name": "1.png", "text": "a cat"}\n')
        case ".parquet":
            file.parent.mkdir()
            pq.write_table(pa.table({"text": ["a cat"]}), file)
        case _:
            sidecars(file.parent, {"1": "a cat"})
    written(tmp_path / ".git/metadata.csv", "text\nx\n")
    written(tmp_path / "README.md", "# a data set")
    (tmp_path / "loop").symlink_to(tmp_path)
    prompts = read_prompts(str(tmp_path))
    assert texts_of(prompts) == ["a cat"]
    assert prompts.prompts[0].source_file == str(file)


@pytest.mark.parametrize("suffix", [".txt", ".caption"])
@pytest.mark.parametrize("image", [".png", ".JPG", ".webp", ".avif"])
def test_text_files_beside_images_are_read_line_by_line(tmp_path: Path, suffix: str, image: str) -> None:
    folder = sidecars(tmp_path, {"1": "text\na cat\n", "2": "a dog, a cat", "3.v2": "a cat\n"}, suffix, image)
    written(folder / "readme.txt", "not a caption")
    prompts = read_prompts(str(folder))
    assert texts_of(prompts) == ["text", "a cat", "a dog, a cat"]
    assert (prompts.text_column, prompts.n_rows) == (None, 4)
    assert "drop --text-column" in refusal(folder, "text")


def test_metadata_stand_above_text_files_beside_images(tmp_path: Path) -> None:
    folder = sidecars(tmp_path, {"1": "a tag"})
    written(folder / "metadata.csv", "file_name,text\n1.png,a cat\n")
    assert texts_of(read_prompts(str(folder))) == ["a cat"]


def test_text_files_that_may_not_count_come_with_the_command_that_collects_them(tmp_path: Path) -> None:
    apart = tmp_path / "my captions"
    for i, text in enumerate(("a cat", "a dog\n")):
        written(apart / f"{i}.txt", text)
    both = sidecars(sidecars(tmp_path / "both", {"1": "a cat", "2": "a dog"}), {"1": "x"}, ".caption")
    for folder in (apart, both):
        message = refusal(folder)
        subprocess.run(message.rpartition(": ")[2], shell=True, check=True, cwd=tmp_path)
        assert texts_of(read_prompts(str(tmp_path / "prompts.txt"))) == ["a cat", "a dog"]


def test_a_file_of_another_name_is_offered(tmp_path: Path) -> None:
    path = written(tmp_path / "captions.csv.gz", b"")
    assert f"give one of them: {path}" in refusal(tmp_path)


def test_many_or_deep_subfolders_are_not_searched_for_ever(tmp_path: Path) -> None:
    folder = tmp_path
    for i in range(30):
        folder = folder / f"d{i}"
    folder.mkdir(parents=True)
    for i in range(1100):
        (tmp_path / f"e{i:04}").mkdir()
    written(folder / "metadata.csv", "text\na cat\n")
    assert "give a file" in refusal(tmp_path)
