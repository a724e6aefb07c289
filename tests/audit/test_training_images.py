"""The nearest training picture is found, whatever the folder holds, and a folder without pictures says so."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit import training_images
from audit.evidence import tile_distances
from audit.training_images import TrainingImages, TrainingImagesError, describe, open_training_images

SIZE = 32


def pictures(n: int, seed: int = 0, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Smooth random pictures: unlike one another, alike in their blocks."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse])


def save(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("train"), pictures(60))


def nearest_by_hand(sample: np.ndarray, images: np.ndarray) -> tuple[int, float, bool]:
    upright, mirrored = (
        [float(tile_distances(image[None], seen)[0]) for image in images] for seen in (sample, sample[:, ::-1])
    )
    best = int(np.argmin(np.minimum(upright, mirrored)))
    return best, min(upright[best], mirrored[best]), mirrored[best] < upright[best]


def test_copy_of_a_training_picture_has_distance_zero(folder):
    images = open_training_images(folder, SIZE, SIZE)
    assert len(images) == 60
    for index, found in enumerate(images.nearest(pictures(60)[:8])):
        assert (found.index, found.distance, found.similarity, found.is_mirrored) == (index, 0.0, 1.0, False)
        assert found.path == folder / f"{index:03d}.png"
        np.testing.assert_array_equal(images.picture(found.index), pictures(60)[index])


def test_mirrored_copy_is_found_and_said_to_be_mirrored(folder):
    images = open_training_images(folder, SIZE, SIZE)
    found = images.nearest(np.ascontiguousarray(pictures(60)[[7, 41], :, ::-1]))
    assert [(f.index, f.distance, f.is_mirrored) for f in found] == [(7, 0.0, True), (41, 0.0, True)]


def test_nearest_equals_comparing_with_every_picture(folder):
    images = open_training_images(folder, SIZE, SIZE)
    noise = np.random.default_rng(3).integers(-40, 41, (60, SIZE, SIZE, 3))
    noisy = (pictures(60).astype(int) + noise).clip(0, 255).astype(np.uint8)[::12]
    strangers = pictures(5, seed=9)
    for sample in [*noisy, *strangers]:
        (found,) = images.nearest(sample[None])
        assert (found.index, found.distance, found.is_mirrored) == nearest_by_hand(sample, pictures(60))


def test_descriptors_are_never_further_apart_than_their_pictures():
    images = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    images[10:] = pictures(10, height=48, width=64)
    for image in images:
        between_pictures = tile_distances(images, image)
        gaps = np.stack([describe(other) for other in images]) - describe(image)
        between_descriptors = np.sqrt(np.square(gaps).mean(axis=2).max(axis=1))
        assert (between_descriptors <= between_pictures + 1e-6).all()


def test_only_the_shortlist_is_read_again(folder, monkeypatch):
    images = open_training_images(folder, SIZE, SIZE)
    monkeypatch.setattr(training_images, "SHORTLIST", 3)
    read = []
    monkeypatch.setattr(images, "_read", lambda path, *_: read.append(path) or pictures(60)[int(path.stem)])
    images.nearest(pictures(1, seed=9))
    assert 1 <= len(read) <= 2 * 3
    read.clear()
    images.nearest(pictures(60)[11:12])
    assert read == [folder / "011.png"]


def test_pictures_are_cut_to_the_shape_of_the_model_and_resized(tmp_path):
    wide = pictures(1, height=40, width=100)[0]
    Image.fromarray(wide).save(tmp_path / "wide.png")
    images = open_training_images(tmp_path, 20, 30)
    centre = Image.fromarray(wide).crop((20, 0, 80, 40)).resize((30, 20), Image.Resampling.LANCZOS)
    np.testing.assert_allclose(images.picture(0).astype(int), np.asarray(centre), rtol=0, atol=1)  # rounding


@pytest.mark.parametrize(("height", "width"), [(16, 16), (18, 22), (24, 40), (8, 9)])
def test_any_size_works(tmp_path, height, width):
    train = pictures(12, height=height, width=width)
    images = open_training_images(save(tmp_path, train), height, width)
    assert [found.index for found in images.nearest(train)] == list(range(12))
    assert images.nearest(train[:0]) == []


def test_every_format_and_mode_below_the_folder_is_read_in_the_order_of_paths(tmp_path):
    rgb = Image.fromarray(pictures(1)[0])
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
    assert images.nearest(pictures(1))[0].distance == 0
    assert all(images.picture(index).shape == (SIZE, SIZE, 3) for index in range(5))


def test_photographs_are_turned_upright(tmp_path):
    upright = pictures(1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to show
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    assert open_training_images(tmp_path, SIZE, SIZE).nearest(upright[None])[0].distance == 0


def test_unreadable_files_are_counted_and_named_in_one_warning(tmp_path, caplog):
    save(tmp_path, pictures(3))
    whole = (tmp_path / "000.png").read_bytes()
    (tmp_path / "001b.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "002b.jpg").write_bytes(b"")
    (tmp_path / "003b.webp").write_text("no picture")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with caplog.at_level(logging.WARNING):
        images = open_training_images(tmp_path, SIZE, SIZE)
    assert len(images) == 3
    (record,) = caplog.records
    assert record.message == (
        f"3 of 6 training pictures cannot be read and are left out, first {tmp_path / '001b.png'}"
    )


def test_folder_without_a_readable_picture_is_refused_in_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    refused = {
        "no folder": tmp_path / "missing",
        "holds no .png": tmp_path,
        "no folder .*notes": tmp_path / "notes.txt",
    }
    for reason, folder in refused.items():
        with pytest.raises(TrainingImagesError, match=reason) as error:
            open_training_images(folder, SIZE, SIZE)
        assert "\n" not in str(error.value)
    (tmp_path / "torn.png").write_text("no picture")
    with pytest.raises(TrainingImagesError, match="none of its 1 can be read"):
        open_training_images(tmp_path, SIZE, SIZE)


def test_picture_removed_during_the_audit_is_an_error(tmp_path):
    images = open_training_images(save(tmp_path, pictures(2)), SIZE, SIZE)
    (tmp_path / "001.png").unlink()
    with pytest.raises(TrainingImagesError, match=r"001\.png changed during the audit"):
        images.nearest(pictures(2))


def test_samples_of_another_size_are_refused(folder):
    images = open_training_images(folder, SIZE, SIZE)
    with pytest.raises(ValueError, match=r"\(16, 32, 3\) cannot be compared with pictures of \(32, 32, 3\)"):
        images.nearest(pictures(1, height=16, width=32))


def test_a_hundred_thousand_descriptors_are_searched_in_parts_that_change_nothing(folder, monkeypatch):
    small = open_training_images(folder, SIZE, SIZE)
    monkeypatch.setattr(training_images, "_ROWS_AT_ONCE", 7)
    assert TrainingImages.nearest(small, pictures(10, seed=4)) == open_training_images(folder, SIZE, SIZE).nearest(
        pictures(10, seed=4)
    )
