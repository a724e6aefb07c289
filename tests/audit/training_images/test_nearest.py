"""The nearest training image is the one that comparing with every image finds, also for changed copies."""

import io

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.images.distances import tile_distances
from flashbulb.audit.training_images import blocks as image_blocks
from flashbulb.audit.training_images import index as image_index
from flashbulb.audit.training_images import nearest as training_images
from flashbulb.audit.training_images.blocks import block_means
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from flashbulb.audit.training_images.storage import build_index, open_training_images
from tests.audit.training_images.random_images import SIZE, detailed, random_images, save


def nearest_by_hand(sample: np.ndarray, images: np.ndarray) -> tuple[int, float, bool]:
    upright, mirrored = (
        [float(tile_distances(image[None], oriented)[0]) for image in images] for oriented in (sample, sample[:, ::-1])
    )
    best = int(np.argmin(np.minimum(upright, mirrored)))
    return best, min(upright[best], mirrored[best]), mirrored[best] < upright[best]


def test_a_copy_of_a_training_image_has_distance_zero(random_folder):
    images = open_training_images(random_folder, SIZE, SIZE)
    assert len(images) == 60
    for index, found in enumerate(images.nearest(random_images(60)[:8])):
        assert (found.index, found.distance, found.similarity, found.is_mirrored) == (index, 0.0, 1.0, False)
        assert found.path == random_folder / f"{index:03d}.png"
        np.testing.assert_array_equal(images.image(found.index), random_images(60)[index])


def test_a_mirrored_copy_is_found_and_marked_as_mirrored(random_folder):
    images = open_training_images(random_folder, SIZE, SIZE)
    found = images.nearest(np.ascontiguousarray(random_images(60)[[7, 41], :, ::-1]))
    assert [(f.index, f.distance, f.is_mirrored) for f in found] == [(7, 0.0, True), (41, 0.0, True)]


def test_nearest_equals_comparing_with_every_image(random_folder):
    images = open_training_images(random_folder, SIZE, SIZE)
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


def test_only_shortlisted_images_are_read_again(random_folder, monkeypatch):
    images = open_training_images(random_folder, SIZE, SIZE)
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


def test_samples_of_another_size_are_refused(random_folder):
    images = open_training_images(random_folder, SIZE, SIZE)
    with pytest.raises(ValueError, match=r"\(16, 32, 3\) cannot be compared with images of \(32, 32, 3\)"):
        images.nearest(random_images(1, height=16, width=32))


def test_results_do_not_depend_on_the_size_of_search_chunks(random_folder, monkeypatch):
    small = open_training_images(random_folder, SIZE, SIZE)
    monkeypatch.setattr(image_blocks, "_ROWS_AT_ONCE", 17)
    monkeypatch.setattr(image_index, "_ROWS_AT_ONCE", 17)
    assert TrainingImages.nearest(small, random_images(4, seed=4)) == open_training_images(
        random_folder, SIZE, SIZE
    ).nearest(random_images(4, seed=4))


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
