"""Images of every format, mode, size and orientation are read as a viewer shows them; what is no image is named."""

import logging
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.images.orientation import turn
from flashbulb.audit.training_images.reader import is_shown_alike
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from flashbulb.audit.training_images.storage import build_index, open_training_images
from flashbulb.reports.views.passed_over import PassedOver
from tests.audit.training_images.random_images import SIZE, detailed, random_images, save


@pytest.mark.parametrize(("height", "width"), [(16, 16), (18, 22), (24, 40), (8, 9)])
def test_images_of_any_size_work(tmp_path, height, width):
    train = random_images(12, height=height, width=width)
    images = open_training_images(save(tmp_path, train), height, width)
    assert [found.index for found in images.nearest(train)] == list(range(12))
    assert images.nearest(train[:0]) == []


def test_images_of_every_format_and_mode_are_read_in_the_order_of_their_paths(tmp_path):
    rgb = Image.fromarray(random_images(1)[0])
    (tmp_path / "b" / "deep").mkdir(parents=True)
    rgb.save(tmp_path / "z.webp", lossless=True)
    rgb.save(tmp_path / "b" / "deep" / "2.JPG")
    rgb.convert("L").save(tmp_path / "b" / "1.jpeg")
    rgb.convert("RGBA").save(tmp_path / "a.PNG")
    rgb.convert("P").save(tmp_path / "b.bmp")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.PNG,a star\n")
    (tmp_path / "folder.png").mkdir()
    images = open_training_images(tmp_path, SIZE, SIZE)
    names = [path.relative_to(tmp_path).as_posix() for path in images.paths]
    assert names == ["a.PNG", "b.bmp", "b/1.jpeg", "b/deep/2.JPG", "z.webp"]
    assert images.nearest(random_images(1))[0].distance == 0
    assert all(images.image(index).shape == (SIZE, SIZE, 3) for index in range(5))


def test_photographs_are_turned_upright(tmp_path):
    upright = random_images(1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to show
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    assert open_training_images(tmp_path, SIZE, SIZE).nearest(upright[None])[0].distance == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("indexed", [False, True])
def test_a_model_trained_on_either_view_of_a_turned_image_is_found(tmp_path, orientation, indexed):
    stored = Image.fromarray(detailed(1, height=SIZE, width=SIZE)[0])
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = save(tmp_path / "train", random_images(3))
    stored.save(source / "turned.png", exif=exif)
    if indexed:
        assert build_index(source, tmp_path / "index").n_images == 4
    images = open_training_images(tmp_path / "index" if indexed else source, SIZE, SIZE)
    assert len(images) == 4
    assert len(images.paths) == 4 + (orientation != 1)
    for view in (stored, turn(stored, orientation)):
        (found,) = images.nearest(np.asarray(view)[None])
        assert (found.path.name, found.distance, found.kind) == ("turned.png", 0, "verbatim")
        np.testing.assert_array_equal(images.image(found.index)[:, :: -1 if found.is_mirrored else 1], view)


def test_only_a_file_that_every_reader_shows_alike_is_shown_itself(tmp_path):
    picture = Image.fromarray(detailed(1)[0])
    picture.save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(tmp_path / "plain.png", "inside.png")
    images = open_training_images(tmp_path, SIZE, SIZE)
    shown = [i for i, path in enumerate(images.paths) if is_shown_alike(path, images.image(i))]
    assert [images.paths[i].name for i in shown] == ["plain.png", "turned.png"]
    assert images.paths[3].name == "turned.png"
    assert 3 not in shown, "its upright view"


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5000, 1), (2, 2), (3, 4000)])
@pytest.mark.parametrize("indexed", [False, True])
def test_images_of_any_shape_are_compared(tmp_path, size, indexed):
    source = save(tmp_path / "train", random_images(2))
    Image.effect_noise(size, 90).save(source / "odd.png")
    if indexed:
        build_index(source, tmp_path / "index")
    images = open_training_images(tmp_path / "index" if indexed else source, SIZE, SIZE)
    assert len(images.nearest(random_images(3, seed=4))) == 3
    assert images.image(2).shape == (SIZE, SIZE, 3)


def test_one_warning_counts_what_is_passed_over_and_names_the_first(tmp_path, caplog):
    save(tmp_path, random_images(3))
    complete = (tmp_path / "000.png").read_bytes()
    (tmp_path / "001b.png").write_bytes(complete[: len(complete) // 2])
    (tmp_path / "002b.jpg").write_bytes(b"")
    (tmp_path / "003b.webp").write_text("no image")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with caplog.at_level(logging.WARNING):
        images = open_training_images(tmp_path, SIZE, SIZE)
    assert len(images) == 3
    (record,) = caplog.records
    assert record.message == (
        f"not compared in {tmp_path}: cannot be read 3 (first 001b.png), missing or link to nothing 1 (first gone.png)"
    )
    assert images.passed_over == (
        PassedOver("cannot be read", 3, "001b.png"),
        PassedOver("missing or link to nothing", 1, "gone.png"),
    )


def test_a_folder_without_a_readable_image_is_refused_in_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    refused = {
        "no folder": tmp_path / "missing",
        r"\.txt 1 \(first notes\.txt\)": tmp_path,
        "no folder .*notes": tmp_path / "notes.txt",
    }
    for reason, folder in refused.items():
        with pytest.raises(TrainingImagesError, match=reason) as error:
            open_training_images(folder, SIZE, SIZE)
        assert "\n" not in str(error.value)
    (tmp_path / "torn.png").write_text("no image")
    with pytest.raises(TrainingImagesError, match=r"cannot be read 1 \(first torn\.png\), \.txt 1"):
        open_training_images(tmp_path, SIZE, SIZE)


def test_an_image_removed_during_the_audit_is_an_error(tmp_path):
    images = open_training_images(save(tmp_path, random_images(2)), SIZE, SIZE)
    (tmp_path / "001.png").unlink()
    with pytest.raises(TrainingImagesError, match=r"001\.png changed during the audit"):
        images.nearest(random_images(2))


def test_a_tar_gives_what_its_folder_gives(tmp_path):
    source = save(tmp_path / "train", random_images(30))
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for path in sorted(source.iterdir()):
            tar.add(path, path.name)
    folder, shard = (open_training_images(tmp_path / name, SIZE, SIZE) for name in ("train", "train.tar"))
    samples = np.concatenate([random_images(3), random_images(2, seed=9)])
    for from_folder, from_tar in zip(folder.nearest(samples), shard.nearest(samples), strict=True):
        assert replace(from_tar, path=from_folder.path) == from_folder
        assert from_tar.path == tmp_path / "train.tar" / from_folder.path.name
    assert len(shard) == 30
    assert shard.paths[-1] == tmp_path / "train.tar" / "029.png"
    assert shard.paths[:2] == (tmp_path / "train.tar" / "000.png", tmp_path / "train.tar" / "001.png")
