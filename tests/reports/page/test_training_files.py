"""The page shows training images of the audit, and no other file of the machine."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from flashbulb.reports.page.thumbnails import thumbnail
from flashbulb.reports.page.training_files import find_training_file
from flashbulb.reports.tables.files import RunIncompleteError
from tests.reports.pages import save_image

FOLDER = "images/p0"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run" / FOLDER).mkdir(parents=True)
    return tmp_path / "run"


def save_copy(path: Path, metadata: object) -> Path:
    """Save an image with metadata, such as the training image that it is a copy of."""
    info = PngInfo()
    info.add_itxt("flashbulb", json.dumps(metadata))
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def test_a_training_image_in_an_archive_is_found_by_the_metadata_of_its_copy(run: Path) -> None:
    save_copy(run / FOLDER / "training-1.png", {"training_image": "shards/a.tar/one.png"})
    copy = save_copy(run / FOLDER / "training-2.png", {"training_image": "shards/a.tar/two.png"})
    (run / FOLDER / "training-0.png").write_bytes(b"truncated")
    save_copy(run / FOLDER / "training-00.png", ["shards/a.tar/two.png"])
    os.mkfifo(run / FOLDER / "training-000.png")
    assert find_training_file("shards/a.tar/two.png", run, FOLDER, "shards") == copy
    no_file = find_training_file("shards/a.tar/three.png", run, FOLDER, "shards")
    assert no_file is not None
    assert thumbnail(no_file, "shown") is None


def test_a_copy_that_leads_out_of_the_run_is_refused(run: Path, tmp_path: Path) -> None:
    outside = save_copy(tmp_path / "outside.png", {"training_image": "fox.png"})
    (run / FOLDER / "training-1.png").symlink_to(outside)
    with pytest.raises(RunIncompleteError, match=r"training-1\.png' leads out of the run directory"):
        find_training_file("fox.png", run, FOLDER, str(tmp_path))


def test_a_training_image_on_disk_is_used_directly(run: Path, tmp_path: Path) -> None:
    path = save_image(tmp_path / "training" / "here.png", 0)
    assert find_training_file(str(path), run, FOLDER, str(path.parent)) == path
    assert find_training_file(str(path), run, FOLDER, str(tmp_path)) == path


def test_training_images_may_be_links_as_in_a_cache(run: Path, tmp_path: Path) -> None:
    blob = save_image(tmp_path / "blobs" / "0123.png", 0)
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "fox.png").symlink_to(blob)
    name = str(tmp_path / "training" / "fox.png")
    assert find_training_file(name, run, FOLDER, str(tmp_path / "training")) == Path(name)


def test_images_of_an_index_lie_where_it_was_built_from(run: Path, tmp_path: Path) -> None:
    path = save_image(tmp_path / "training" / "here.png", 0)
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "index.json").write_text(json.dumps({"source": str(path.parent)}))
    assert find_training_file(str(path), run, FOLDER, str(tmp_path / "index")) == path


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"source": 3}', "[" * 100_000, "\x00"])
def test_no_file_beside_the_training_images_is_shown(run: Path, tmp_path: Path, manifest: str) -> None:
    outside = save_image(tmp_path / "private" / "face.png", 0)
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "index.json").write_text(manifest)
    for name in (str(outside), str(tmp_path / "training" / ".." / "private" / "face.png"), "x\x00.png", "/etc/passwd"):
        for train_images in (str(tmp_path / "training"), None, 3, ["/"]):
            assert find_training_file(name, run, FOLDER, train_images) is None


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"root:x:0:0:root:/root\n", b""]
)
def test_a_file_that_is_no_image_has_no_thumbnail(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fox.png").write_bytes(content)
    assert thumbnail(tmp_path / "fox.png", "shown") is None


def test_a_pipe_and_a_bomb_have_no_thumbnail(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    Image.new("1", (14_000, 14_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    assert thumbnail(tmp_path / "pipe.png", "shown") is None
    assert thumbnail(tmp_path / "bomb.png", "shown") is None
    assert thumbnail(tmp_path / ("x" * 5000), "shown") is None
