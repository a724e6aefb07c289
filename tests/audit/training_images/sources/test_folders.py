"""Whatever lies in a folder is read, or counted and named: files of any name, links, pipes, deep folders, metadata."""

import io
import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from flashbulb.audit.training_images.reader import read_set
from flashbulb.audit.training_images.sources import members
from flashbulb.audit.training_images.sources.archives import TOO_LARGE
from flashbulb.audit.training_images.sources.members import Member, TrainingImagesError
from flashbulb.audit.training_images.sources.passed_over import Tally
from flashbulb.audit.training_images.storage import open_training_images
from tests.audit.training_images.sets import levels, passed_over, png


def test_files_are_told_by_their_content_where_the_suffix_is_none_of_an_image(folder):
    for name in ("none", "data.bin", "PHOTO.JPG", "wrong.gif", "image.dat"):
        (folder / name).write_bytes(png(2))
    (folder / "caption.txt").write_text("BMX bike")  # which starts like a bitmap
    (folder / "empty").write_bytes(b"")
    (folder / "weights.safetensors").write_bytes(bytes(64))
    (folder / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    assert len(open_training_images(folder, 8, 8)) == 6
    assert passed_over(folder) == {
        ".heic": 1,
        ".safetensors": 1,
        ".txt": 1,
        "no image, without suffix": 1,
    }


def test_every_name_of_a_suffix_is_counted_in_bounded_memory(folder):
    for number in range(60):
        (folder / f"x.kind{number}").write_bytes(b"nothing")
    counted = passed_over(folder)
    assert len(counted) <= 17
    assert sum(counted.values()) == 60


def test_names_are_safe_to_show(folder):
    (folder / "\x1b[31mred\nline\u202e.png").write_bytes(b"no image")
    os.close(os.open(os.fsencode(folder) + b"/caf\xe9.png", os.O_CREAT | os.O_WRONLY))
    (folder / "x.\x1b[2J").write_bytes(b"no image")
    tally = Tally()
    list(read_set(folder, 1.0, 0, lambda image: image, tally))
    shown = "".join(f"{row.reason} {row.first}" for row in tally.result())
    assert shown.isprintable()
    assert "⟨U+001B⟩[31mred↵line⟨U+202E⟩.png" in shown


def test_an_image_whose_name_is_not_utf_8_is_compared_and_has_a_path_that_can_be_stored(folder):
    image = np.asarray(Image.effect_noise((32, 32), 90).convert("RGB"))
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    descriptor = os.open(os.fsencode(folder) + b"/caf\xe9.png", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, file.getvalue())
    os.close(descriptor)
    (found,) = open_training_images(folder, 32, 32).nearest(image[None])
    assert found.distance == 0
    assert pa.array([str(found.path)])[0].as_py().endswith("caf\\udce9.png")


def test_folders_of_any_depth_are_read(folder):
    here = Path.cwd()
    try:
        os.chdir(folder)
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
        Path("deep.png").write_bytes(png(2))
        for _ in range(1500):
            Path("dd").mkdir()
            os.chdir("dd")
        Path("unreachable.png").write_bytes(png(3))
    finally:
        os.chdir(here)
    try:
        assert levels(folder) == [2, 1]
        assert passed_over(folder) == {"folder that cannot be read": 1}
    finally:  # Python's own removal goes as deep as its stack
        subprocess.run(["rm", "-rf", folder], check=True)


def test_links_neither_loop_nor_multiply(folder):
    (folder / "self").symlink_to("self")
    (folder / "self.png").symlink_to("self.png")
    (folder / "up").symlink_to("..")
    layers = [folder / f"layer{number}" for number in range(30)]
    for layer in layers:
        layer.mkdir()
    for layer, following in pairwise(layers):
        (layer / "a").symlink_to(following)
        (layer / "b").symlink_to(following)
    assert levels(folder) == [1]
    counted = passed_over(folder)
    assert counted.pop("missing or link to nothing") == 2
    assert set(counted) == {"folder that is read already"}


def test_pipes_and_devices_are_not_opened(folder):
    for name in ("pipe", "pipe.png", "pipe.tar", "pipe.zip", "metadata.jsonl"):
        os.mkfifo(folder / name)
    (folder / "zero.png").symlink_to("/dev/zero")
    assert passed_over(folder) == {"no regular file": 6}


def test_a_file_larger_than_the_limit_is_not_read(folder):
    with (folder / "huge.png").open("wb") as file:
        file.truncate(members.MAX_BYTES + 1)
    assert passed_over(folder) == {TOO_LARGE: 1}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.jsonl", "[" * 100_000),
        ("metadata.jsonl", '{"file_name": ' + "[" * 100_000),
        ("metadata.jsonl", "{"),
        ("metadata.csv", "file_name\n" + '"' + "x" * 200_000),
        ("metadata.csv", b"file_name\n\xff\xfe.png\n"),
        ("metadata.jsonl", '{"file_name": "/etc/hostname"}'),
        ("metadata.jsonl", '{"file_name": "a/../../x\\n\\u001b.png"}'),
    ],
)
def test_metadata_that_cannot_be_used_is_one_line(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TrainingImagesError, match=r"repair it or remove it|outside of its folder") as error:
        passed_over(folder)
    assert str(error.value).isprintable()


def test_odd_names_in_metadata_are_missing_images(folder):
    rows = ["gone.png", "x\0y.png", "n" * 5000 + ".png", "good.png"]
    (folder / "metadata.jsonl").write_text("".join(json.dumps({"file_name": row}) + "\n" for row in rows))
    assert passed_over(folder) == {"missing": 3, ".jsonl": 1}


def test_records_hold_any_name():
    for name in ("a\0b", "caf\udce9", "x\ny", '"', "星"):
        member = Member(name, name, 5, 7, "table", name, 6, False)
        assert Member.unpack(member.pack()) == member
