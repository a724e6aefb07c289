"""Distances between images and agreement between seeds are what the report claims."""

import math
import tracemalloc

import numpy as np
import pytest

from flashbulb.audit.images import distances
from flashbulb.audit.images.distances import (
    AGREEMENT_DISTANCE,
    N_TILES,
    agrees,
    cross_distances,
    medoid,
    pairwise_distances,
    seed_agreement,
    tile_distances,
)


def random_images(n: int, height: int = 16, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def slow_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the largest root mean square difference of the 16 tiles, pixel by pixel."""
    height, width, _ = a.shape
    worst = 0.0
    for row in range(N_TILES):
        for column in range(N_TILES):
            squares = [
                ((int(a[y, x, c]) - int(b[y, x, c])) / 255) ** 2
                for y in range(row * height // N_TILES, (row + 1) * height // N_TILES)
                for x in range(column * width // N_TILES, (column + 1) * width // N_TILES)
                for c in range(3)
            ]
            worst = max(worst, math.sqrt(sum(squares) / len(squares)))
    return worst


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 24), (4, 4)])
def test_distance_equals_a_pixel_by_pixel_computation(height, width):
    images, target = random_images(5, height, width), random_images(1, height, width, seed=1)[0]
    slow = [slow_distance(image, target) for image in images]
    np.testing.assert_allclose(tile_distances(images, target), slow, rtol=1e-6)


@pytest.mark.parametrize("at_once", [1, 2, 10**9])
def test_distance_does_not_depend_on_how_many_images_are_compared_at_once(at_once, monkeypatch):
    images, target = random_images(5, 24, 24), random_images(1, 24, 24, seed=1)[0]
    expected = tile_distances(images, target).tolist()
    monkeypatch.setattr(distances, "_MOST_VALUES", at_once * target.size)
    assert tile_distances(images, target).tolist() == expected
    assert tile_distances(images[:0], target).tolist() == []


def test_many_large_images_are_compared_in_little_memory():
    images = np.zeros((60, 512, 512, 3), dtype=np.uint8)
    tracemalloc.start()
    tile_distances(images, images[0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e8  # at once they would take 1 GB


def test_identical_images_have_distance_zero_and_black_and_white_have_one():
    image = random_images(1)
    assert tile_distances(image, image[0]).tolist() == [0.0]
    black, white = np.zeros((1, 16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    assert tile_distances(black, white).tolist() == [1.0]


def test_distance_is_the_distance_of_the_worst_tile():
    image = random_images(1)[0]
    spoilt = image.copy()
    spoilt[4:8, 8:12] = 255 - spoilt[4:8, 8:12]
    tile = (spoilt[4:8, 8:12].astype(float) - image[4:8, 8:12]) / 255
    np.testing.assert_allclose(tile_distances(spoilt[None], image), np.sqrt(np.square(tile).mean()), rtol=1e-6)


def test_distance_is_symmetric_and_does_not_depend_on_the_batch():
    images = random_images(6)
    distances = pairwise_distances(images)
    np.testing.assert_array_equal(distances, distances.T)
    np.testing.assert_array_equal(np.diag(distances), np.zeros(6))
    assert tile_distances(images[2:3], images[4]).tolist() == [distances[4, 2]]


def test_distances_of_every_pair_equal_those_of_one_image_at_a_time():
    rng = np.random.default_rng(0)
    images, others = (rng.integers(0, 256, (n, 10, 9, 3), dtype=np.uint8) for n in (3, 4))
    others[0] = images[0]
    expected = [tile_distances(others, image) for image in images]
    np.testing.assert_allclose(cross_distances(images, others), expected, atol=1e-6)


def test_images_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(16, 16, 3\) cannot be compared with one of \(8, 16, 3\)"):
        tile_distances(random_images(2), random_images(1, height=8)[0])


@pytest.mark.parametrize("n", [1, 2, 8])
def test_equal_images_agree_and_unrelated_images_do_not(n):
    images = random_images(n)
    assert seed_agreement(np.repeat(images[:1], n, axis=0)) == 1.0
    assert seed_agreement(images) == 1 / n


def test_agreement_is_the_share_of_the_largest_group():
    images = random_images(8)
    images[[1, 4, 6]] = images[0]
    images[3] = images[2]
    assert seed_agreement(images) == 0.5
    assert medoid(images) in (0, 1, 4, 6)


def test_agreement_counts_images_within_the_limit():
    grey = np.full((2, 16, 16, 3), 100, np.uint8)
    levels = AGREEMENT_DISTANCE * 255
    for step, agreement in ((math.floor(levels) - 1, 1.0), (math.ceil(levels) + 1, 0.5)):
        grey[1] = 100 + step
        assert seed_agreement(grey) == agreement


@pytest.mark.parametrize(
    ("agreement", "n", "share", "expected"),
    [(0.5, 2, 0.5, False), (1.0, 2, 0.5, True), (0.5, 4, 0.5, True), (0.25, 4, 0.25, False), (0.75, 4, 0.8, False)],
)
def test_agreement_needs_at_least_two_images(agreement, n, share, expected):
    assert agrees(agreement, n, share) is expected
