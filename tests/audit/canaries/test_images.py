"""Images of canaries differ from one another and from every training image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.canaries.images import COMPARED_SIDE, MIN_DISTANCE, draw_images, side_of_first
from flashbulb.audit.images.distances import pairwise_distances
from flashbulb.audit.planted.images import paint_poster, random_poster
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.storage import open_training_images


def folder_of_posters(folder: Path, seed: int, n: int) -> Path:
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(n):
        Image.fromarray(paint_poster(random_poster(rng), COMPARED_SIDE)).save(folder / f"{number}.png")
    return folder


def opened(folder: Path) -> TrainingImages:
    return open_training_images(folder, COMPARED_SIDE, COMPARED_SIDE)


def test_painted_images_differ_from_one_another_and_from_the_training_images(tmp_path: Path) -> None:
    training = opened(folder_of_posters(tmp_path / "training", 0, 20))
    images = np.stack(draw_images(16, COMPARED_SIDE, training, None, np.random.default_rng(0)))
    distances = pairwise_distances(images)
    assert distances[~np.eye(16, dtype=bool)].min() >= MIN_DISTANCE
    nearest = training.nearest(images)
    assert all(found.kind is None and found.distance >= MIN_DISTANCE for found in nearest)


def test_pooled_images_that_are_training_images_are_left_out(tmp_path: Path) -> None:
    training = opened(folder_of_posters(tmp_path / "training", 0, 10))
    pool = folder_of_posters(tmp_path / "pool", 1, 30)
    for file in (tmp_path / "training").iterdir():
        (pool / f"copy-{file.name}").write_bytes(file.read_bytes())
    images = np.stack(draw_images(8, COMPARED_SIDE, training, pool, np.random.default_rng(0)))
    assert all(found.kind is None for found in training.nearest(images))


def test_a_pool_that_is_too_small_is_refused_with_what_it_has(tmp_path: Path) -> None:
    training = opened(folder_of_posters(tmp_path / "training", 0, 4))
    pool = folder_of_posters(tmp_path / "pool", 0, 4)  # the training images themselves
    (pool / "note.txt").write_text("no image", encoding="utf-8")
    with pytest.raises(CanaryError, match=r"has 0 images .* 2 are needed"):
        draw_images(2, COMPARED_SIDE, training, pool, np.random.default_rng(0))


def test_canaries_are_as_large_as_the_first_image(tmp_path: Path) -> None:
    Image.new("RGB", (48, 40)).save(tmp_path / "a.png")
    Image.new("RGB", (90, 90)).save(tmp_path / "b.png")
    assert side_of_first(tmp_path) == 40


def test_a_data_set_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(CanaryError, match="no image that can be read"):
        side_of_first(tmp_path)
