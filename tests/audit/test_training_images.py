"""The nearest training picture is found, whatever the folder holds, and a folder without pictures says so."""

import io
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit import training_images
from audit.evidence import tile_distances
from audit.training import blocks as image_blocks
from audit.training import index as image_index
from audit.training.blocks import describe
from audit.training_images import TrainingImages, TrainingImagesError, build_index, open_training_images

SIZE = 32


def pictures(n: int, seed: int = 0, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Smooth random pictures: unlike one another, alike in their blocks."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse])


def detailed(n: int, seed: int = 0, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Random pictures that have detail in every crop."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
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


def test_only_shortlists_are_read_again(folder, monkeypatch):
    images = open_training_images(folder, SIZE, SIZE)
    monkeypatch.setattr(training_images, "SHORTLIST", 3)
    monkeypatch.setattr(training_images, "HASH_SHORTLIST", 5)
    read = []
    decoded = images._decoded
    monkeypatch.setattr(images, "_decoded", lambda index: read.append(index) or decoded(index))
    images.nearest(pictures(60)[11:12])
    assert read == [11]
    images.nearest(pictures(1, seed=9))
    assert len(set(read)) <= 1 + 2 * 3 + 5


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
    monkeypatch.setattr(image_blocks, "_ROWS_AT_ONCE", 17)
    monkeypatch.setattr(image_index, "_ROWS_AT_ONCE", 17)
    assert TrainingImages.nearest(small, pictures(4, seed=4)) == open_training_images(folder, SIZE, SIZE).nearest(
        pictures(4, seed=4)
    )


def changed(picture: np.ndarray, how: str) -> np.ndarray:
    image = Image.fromarray(picture)
    if how == "jpeg":
        file = io.BytesIO()
        image.save(file, "JPEG", quality=30)
        return np.asarray(Image.open(file).convert("RGB"))
    if how == "shifted":
        return np.pad(picture, ((3, 0), (0, 2), (0, 0)), mode="edge")[:-3, 2:]
    if how == "framed":
        framed = np.full_like(picture, 128)
        side = round(0.85 * len(picture))
        framed[2 : 2 + side, 4 : 4 + side] = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))
        return framed
    box = tuple(len(picture) * share for share in (0.1, 0.2, 0.1 + 0.6**0.5, 0.2 + 0.6**0.5))
    crop = np.asarray(image.resize(image.size, Image.Resampling.LANCZOS, box=box))
    return crop if how == "crop" else np.ascontiguousarray(crop[:, ::-1])


@pytest.mark.parametrize("how", ["jpeg", "shifted", "framed", "crop", "mirrored crop"])
@pytest.mark.parametrize("indexed", [False, True])
def test_changed_copies_are_found_verbatim(tmp_path, how, indexed):
    train = detailed(40)
    source = save(tmp_path / "train", train)
    if indexed:
        build_index(source, tmp_path / "index")
    images = open_training_images(tmp_path / "index" if indexed else source, SIZE, SIZE)
    found = images.nearest(np.stack([changed(train[i], how) for i in range(0, 40, 16)]))
    assert [(n.index, n.kind) for n in found] == [(i, "verbatim") for i in range(0, 40, 16)]
    assert {n.is_mirrored for n in found} == {how == "mirrored crop"}
    if "crop" in how:
        assert all(n.box == pytest.approx((0.1, 0.2, 0.1 + 0.6**0.5, 0.2 + 0.6**0.5), abs=0.03) for n in found)


def test_strangers_copy_nothing(tmp_path):
    images = open_training_images(save(tmp_path, detailed(60)), SIZE, SIZE)
    assert {n.kind for n in images.nearest(detailed(8, seed=5))} == {None}
    flat = np.full((1, SIZE, SIZE, 3), 200, dtype=np.uint8)
    assert images.nearest(flat)[0].kind is None


def test_recoloured_copy_is_a_template(tmp_path):
    train = detailed(20)
    train[3, 10:20, 12:22] = (250, 20, 20)
    sample = train[3].copy()
    sample[10:20, 12:22] = (10, 30, 250)
    (found,) = open_training_images(save(tmp_path, train), SIZE, SIZE).nearest(sample[None])
    assert (found.index, found.kind) == (3, "template")


def test_off_centre_part_of_a_wide_picture_is_found(tmp_path):
    wide = detailed(12, height=64, width=96)
    images = open_training_images(save(tmp_path, wide), SIZE, SIZE)
    left = Image.fromarray(wide[5]).crop((0, 0, 64, 64)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    (found,) = images.nearest(np.asarray(left)[None])
    assert (found.index, found.kind) == (5, "verbatim")
    assert found.box == pytest.approx((0, 0, 2 / 3, 1), abs=0.05)


def test_tar_gives_what_its_folder_gives(tmp_path):
    source = save(tmp_path / "train", pictures(30))
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for path in sorted(source.iterdir()):
            tar.add(path, path.name)
    folder, shard = (open_training_images(tmp_path / name, SIZE, SIZE) for name in ("train", "train.tar"))
    samples = np.concatenate([pictures(3), pictures(2, seed=9)])
    for one, other in zip(folder.nearest(samples), shard.nearest(samples), strict=True):
        assert (one.index, one.distance, one.kind) == (other.index, other.distance, other.kind)
        assert other.path == tmp_path / "train.tar" / one.path.name
    assert len(shard) == 30
    assert shard.paths[-1] == tmp_path / "train.tar" / "029.png"
    assert shard.paths[:2] == (tmp_path / "train.tar" / "000.png", tmp_path / "train.tar" / "001.png")


def test_index_of_another_shape_and_changed_pictures_are_refused(tmp_path):
    source = save(tmp_path / "train", pictures(4))
    assert build_index(source, tmp_path / "index") == 4
    with pytest.raises(TrainingImagesError, match="aspect=2"):
        open_training_images(tmp_path / "index", SIZE, 2 * SIZE)
    images = open_training_images(tmp_path / "index", SIZE, SIZE)
    Image.fromarray(pictures(1, seed=8)[0]).save(source / "002.png")
    (source / "002.png").write_bytes((source / "002.png").read_bytes() + b"\0")
    with pytest.raises(TrainingImagesError, match=r"002\.png changed"):
        images.picture(2)
