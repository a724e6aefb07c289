"""The nearest training image is found in any kind of folder, and a folder without images is refused."""

import io
import logging
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.images.distances import tile_distances
from flashbulb.audit.images.orientation import turn
from flashbulb.audit.training_images import blocks as image_blocks
from flashbulb.audit.training_images import index as image_index
from flashbulb.audit.training_images import nearest as training_images
from flashbulb.audit.training_images.blocks import block_means
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.reader import is_shown_alike
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from flashbulb.audit.training_images.storage import build_index, open_training_images
from flashbulb.reports.views.passed_over import PassedOver

SIZE = 32


def random_images(n: int, seed: int = 0, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Make smooth random images: different from each other, smooth within their blocks."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse])


def detailed(n: int, seed: int = 0, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Make random images that have detail in every crop."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse])


def save(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("train"), random_images(60))


def nearest_by_hand(sample: np.ndarray, images: np.ndarray) -> tuple[int, float, bool]:
    upright, mirrored = (
        [float(tile_distances(image[None], oriented)[0]) for image in images] for oriented in (sample, sample[:, ::-1])
    )
    best = int(np.argmin(np.minimum(upright, mirrored)))
    return best, min(upright[best], mirrored[best]), mirrored[best] < upright[best]


def test_a_copy_of_a_training_image_has_distance_zero(folder):
    images = open_training_images(folder, SIZE, SIZE)
    assert len(images) == 60
    for index, found in enumerate(images.nearest(random_images(60)[:8])):
        assert (found.index, found.distance, found.similarity, found.is_mirrored) == (index, 0.0, 1.0, False)
        assert found.path == folder / f"{index:03d}.png"
        np.testing.assert_array_equal(images.image(found.index), random_images(60)[index])


def test_a_mirrored_copy_is_found_and_marked_as_mirrored(folder):
    images = open_training_images(folder, SIZE, SIZE)
    found = images.nearest(np.ascontiguousarray(random_images(60)[[7, 41], :, ::-1]))
    assert [(f.index, f.distance, f.is_mirrored) for f in found] == [(7, 0.0, True), (41, 0.0, True)]


def test_nearest_equals_comparing_with_every_image(folder):
    images = open_training_images(folder, SIZE, SIZE)
    noise = np.random.default_rng(3).integers(-40, 41, (60, SIZE, SIZE, 3))
    noisy = (random_images(60).astype(int) + noise).clip(0, 255).astype(np.uint8)[::12]
    unrelated = random_images(5, seed=9)
    for sample in [*noisy, *unrelated]:
        (found,) = images.nearest(sample[None])
        assert (found.index, found.distance, found.is_mirrored) == nearest_by_hand(sample, random_images(60))


def test_block_means_are_never_further_apart_than_their_images():
    images = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    images[10:] = random_images(10, height=48, width=64)
    for image in images:
        between_images = tile_distances(images, image)
        gaps = np.stack([block_means(other) for other in images]) - block_means(image)
        between_means = np.sqrt(np.square(gaps).mean(axis=2).max(axis=1))
        assert (between_means <= between_images + 1e-6).all()


def test_only_shortlisted_images_are_read_again(folder, monkeypatch):
    images = open_training_images(folder, SIZE, SIZE)
    monkeypatch.setattr(training_images, "SHORTLIST", 3)
    monkeypatch.setattr(training_images, "HASH_SHORTLIST", 5)
    read = []
    originals = images._originals
    decoded = originals._decoded
    monkeypatch.setattr(originals, "_decoded", lambda row: read.append(row) or decoded(row))
    images.nearest(random_images(60)[11:12])
    assert read == [11]
    images.nearest(random_images(1, seed=9))
    assert len(set(read)) <= 1 + 2 * 3 + 5


def test_images_are_cropped_to_the_shape_of_the_model_and_resized(tmp_path):
    wide = random_images(1, height=40, width=100)[0]
    Image.fromarray(wide).save(tmp_path / "wide.png")
    images = open_training_images(tmp_path, 20, 30)
    centre = Image.fromarray(wide).crop((20, 0, 80, 40)).resize((30, 20), Image.Resampling.LANCZOS)
    np.testing.assert_allclose(images.image(0).astype(int), np.asarray(centre), rtol=0, atol=1)  # rounding


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


def test_samples_of_another_size_are_refused(folder):
    images = open_training_images(folder, SIZE, SIZE)
    with pytest.raises(ValueError, match=r"\(16, 32, 3\) cannot be compared with images of \(32, 32, 3\)"):
        images.nearest(random_images(1, height=16, width=32))


def test_results_do_not_depend_on_the_size_of_search_chunks(folder, monkeypatch):
    small = open_training_images(folder, SIZE, SIZE)
    monkeypatch.setattr(image_blocks, "_ROWS_AT_ONCE", 17)
    monkeypatch.setattr(image_index, "_ROWS_AT_ONCE", 17)
    assert TrainingImages.nearest(small, random_images(4, seed=4)) == open_training_images(folder, SIZE, SIZE).nearest(
        random_images(4, seed=4)
    )


def changed(pixels: np.ndarray, how: str) -> np.ndarray:
    image = Image.fromarray(pixels)
    if how == "jpeg":
        file = io.BytesIO()
        image.save(file, "JPEG", quality=30)
        return np.asarray(Image.open(file).convert("RGB"))
    if how == "shifted":
        return np.pad(pixels, ((3, 0), (0, 2), (0, 0)), mode="edge")[:-3, 2:]
    if how == "framed":
        framed = np.full_like(pixels, 128)
        side = round(0.85 * len(pixels))
        framed[2 : 2 + side, 4 : 4 + side] = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))
        return framed
    box = tuple(len(pixels) * share for share in (0.1, 0.2, 0.1 + 0.6**0.5, 0.2 + 0.6**0.5))
    crop = np.asarray(image.resize(image.size, Image.Resampling.LANCZOS, box=box))
    return crop if how == "crop" else np.ascontiguousarray(crop[:, ::-1])


@pytest.mark.parametrize("how", ["jpeg", "shifted", "framed", "crop", "mirrored crop"])
@pytest.mark.parametrize("indexed", [False, True])
def test_changed_copies_are_found_as_verbatim(tmp_path, how, indexed):
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


def test_unrelated_images_are_not_copies(tmp_path):
    images = open_training_images(save(tmp_path, detailed(60)), SIZE, SIZE)
    assert {n.kind for n in images.nearest(detailed(8, seed=5))} == {None}
    flat = np.full((1, SIZE, SIZE, 3), 200, dtype=np.uint8)
    assert images.nearest(flat)[0].kind is None


def test_a_recoloured_copy_is_a_template(tmp_path):
    train = detailed(20)
    train[3, 10:20, 12:22] = (250, 20, 20)
    sample = train[3].copy()
    sample[10:20, 12:22] = (10, 30, 250)
    (found,) = open_training_images(save(tmp_path, train), SIZE, SIZE).nearest(sample[None])
    assert (found.index, found.kind) == (3, "template")


def test_an_off_centre_part_of_a_wide_image_is_found(tmp_path):
    wide = detailed(12, height=64, width=96)
    images = open_training_images(save(tmp_path, wide), SIZE, SIZE)
    left = Image.fromarray(wide[5]).crop((0, 0, 64, 64)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    (found,) = images.nearest(np.asarray(left)[None])
    assert (found.index, found.kind) == (5, "verbatim")
    assert found.box == pytest.approx((0, 0, 2 / 3, 1), abs=0.05)


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


def test_an_index_of_another_shape_and_changed_images_are_refused(tmp_path):
    source = save(tmp_path / "train", random_images(4))
    assert build_index(source, tmp_path / "index") == (4, ())
    with pytest.raises(TrainingImagesError, match="aspect=2"):
        open_training_images(tmp_path / "index", SIZE, 2 * SIZE)
    images = open_training_images(tmp_path / "index", SIZE, SIZE)
    Image.fromarray(random_images(1, seed=8)[0]).save(source / "002.png")
    (source / "002.png").write_bytes((source / "002.png").read_bytes() + b"\0")
    with pytest.raises(TrainingImagesError, match=r"002\.png changed"):
        images.image(2)


def test_near_duplicates_are_images_that_would_count_as_a_copy(tmp_path):
    images = detailed(12)
    folder = save(tmp_path / "train", images)
    for number, quality in enumerate((90, 40)):
        Image.fromarray(images[3]).save(folder / f"again-{number}.jpg", quality=quality)
    training = open_training_images(folder, SIZE, SIZE)
    counts = {training.label(index): len(training.near_duplicates(index)) for index in range(len(training))}
    assert {label: n for label, n in counts.items() if n} == {"003.png": 2, "again-0.jpg": 2, "again-1.jpg": 2}
