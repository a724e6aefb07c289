"""`flashbulb index` reads or names everything in its source, and shows names only as visible text."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.audit.commands import refused, run_flashbulb


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8))


def odd_folder(folder: Path) -> Path:
    folder.mkdir()
    noise(0).save(folder / "seen.png")
    noise(1).save(folder / "seen.avif")
    (folder / "\x1b]0;owned\x07\n.png").write_bytes(b"no image")
    (folder / "caption.txt").write_text("a star")
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.write(folder / "seen.avif", "again.avif")
        archive.writestr("\x1b[31m.7z", b"7z")
    return folder


def test_what_is_passed_over_is_counted_and_named_in_the_log_and_in_the_answer(tmp_path):
    answer = run_flashbulb("index", odd_folder(tmp_path / "set"), tmp_path / "index")
    assert answer.code == 0
    assert answer.out.startswith(f"3 images indexed in {tmp_path / 'index'}; not compared: ")
    for text in (answer.out, answer.err):
        assert "archive inside an archive 1 (first more.zip/⟨U+001B⟩[31m.7z)" in text
        assert "cannot be read 1 (first ⟨U+001B⟩]0;owned⟨U+0007⟩↵.png)" in text
        assert ".txt 1 (first caption.txt)" in text
        assert text.replace("\n", "").isprintable()


def test_the_metadata_of_an_image_do_not_reach_the_terminal(tmp_path):
    (tmp_path / "set").mkdir()
    stated = Image.Exif()
    stated.update({0x0112: 6, 0x010E: "\x1b]0;owned\x07"})
    noise(0).save(tmp_path / "set" / "a.tiff", exif=stated)
    noise(0).save(tmp_path / "set" / "b.jpg", exif=stated)
    answer = run_flashbulb("--verbose", "index", tmp_path / "set", tmp_path / "index")
    assert answer.code == 0
    assert "owned" not in answer.out + answer.err


def test_the_document_counts_what_is_passed_over(tmp_path):
    answer = run_flashbulb("index", odd_folder(tmp_path / "set"), tmp_path / "index", "--json")
    document = json.loads(answer.out)
    assert document["n_pictures"] == 3
    assert [(row["reason"], row["n"]) for row in document["passed_over"]] == [
        ("archive inside an archive", 1),
        ("cannot be read", 1),
        (".txt", 1),
    ]


def test_an_index_of_an_older_version_is_refused_in_one_line(inputs, tmp_path):
    folder = odd_folder(tmp_path / "set")
    assert run_flashbulb("index", folder, tmp_path / "index").code == 0
    manifest = tmp_path / "index" / "index.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 1}))
    line = refused("validate", *inputs.options(tmp_path / "run"), "--train-images", tmp_path / "index")
    assert "has schema version 1, but this Flashbulb reads 2; build the index again" in line


def test_validate_and_the_report_of_an_index_name_what_it_lacks(inputs, tmp_path):
    assert run_flashbulb("index", odd_folder(tmp_path / "set"), tmp_path / "index").code == 0
    for source in (tmp_path / "set", tmp_path / "index"):
        options = (*inputs.options(tmp_path / "run"), "--train-images", source)
        answer = run_flashbulb("validate", *options)
        assert "not compared: archive inside an archive 1" in answer.out
        plan = json.loads(run_flashbulb("validate", *options, "--json").out)
        assert plan["n_training_images"] == 3
        assert sum(row["n"] for row in plan["passed_over"]) == 3


@pytest.mark.parametrize("aspect", ["0", "-1", "nan", "inf"])
def test_a_shape_that_no_image_has_is_refused(tmp_path, aspect):
    assert "--aspect: " in refused("index", odd_folder(tmp_path / "set"), tmp_path / "index", "--aspect", aspect)
    assert not (tmp_path / "index").exists()
