"""Copies, complete, cropped or in part, are distinguished from unrelated images; flat and dark images prove nothing."""

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.images.distances import tile_distances
from flashbulb.audit.training_images.matching import Alignment, align, is_replica, luma, match, overlap, shrink, zncc
from flashbulb.audit.training_images.templates import template_match
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE

SIDE = 48


def smooth(seed: int, side: int = SIDE) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def test_zncc_ignores_brightness_and_contrast_but_not_content():
    image = luma(pixels(smooth(0)))
    assert zncc(image, 0.5 * image + 0.2) == pytest.approx(1, abs=1e-5)
    assert zncc(image, -image) == pytest.approx(-1, abs=1e-5)
    assert abs(zncc(image, luma(pixels(smooth(1))))) < 0.6
    assert zncc(image, np.full_like(image, 0.5)) == 0


def test_unrelated_dark_images_are_near_but_not_replicas():
    rng = np.random.default_rng(0)
    dark, other = (rng.integers(0, 45, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(2))
    distance = float(tile_distances(dark[None], other)[0])
    assert distance <= REPLICATION_DISTANCE
    assert not is_replica(dark, other, distance)
    assert is_replica(dark, dark, 0.0)


def test_a_flat_image_replicates_nothing_not_even_itself():
    flat = np.full((SIDE, SIDE, 3), 250, dtype=np.uint8)
    assert not is_replica(flat, flat, 0.0)
    assert not template_match(flat, flat).is_match


@pytest.mark.parametrize("errors", [(0.0, 0.0, 0.0), (0.02, -0.02, 0.0), (-0.015, 0.01, 0.015)])
def test_alignment_finds_the_window_that_a_sample_shows(errors):
    image = smooth(4, 96)
    box = (12.0, 8.0, 88.0, 84.0)
    sample = pixels(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))
    truth = Alignment(12 / 96, 8 / 96, 76 / 96)
    start = Alignment(*(value + error for value, error in zip(truth, errors, strict=True)))
    found = align(luma(sample), image.convert("L"), start)
    assert tuple(found) == pytest.approx(tuple(truth), abs=0.015)
    matched = match(sample, image, found)
    assert matched is not None
    assert matched.is_copy
    assert matched.box == pytest.approx([value / 96 for value in box], abs=0.02)


def test_unrelated_images_are_not_copies_in_any_alignment():
    start = Alignment(0.05, 0.05, 0.9)
    for seed in range(10):
        sample, image = pixels(smooth(seed)), smooth(seed + 100)
        matched = match(sample, image, align(luma(sample), image.convert("L"), start))
        assert matched is None or not matched.is_copy


def test_the_overlap_is_the_region_that_both_show():
    shared = overlap(Alignment(-0.25, 0.0, 1.0), (40, 40), (80, 80))
    assert shared is not None
    assert (shared.left, shared.top, shared.right, shared.bottom) == (10, 0, 40, 40)
    assert shared.box == (0.0, 0.0, 60.0, 80.0)
    assert overlap(Alignment(-0.6, 0.0, 1.0), (40, 40), (80, 80)) is None
    assert overlap(Alignment(2.0, 0.0, 1.0), (40, 40), (80, 80)) is None


def test_shrinking_keeps_the_shape_and_never_enlarges():
    assert shrink(Image.new("RGB", (400, 200)), 50).size == (100, 50)
    assert shrink(Image.new("RGB", (40, 20)), 50).size == (40, 20)


def template(seed: int, colour: tuple[int, int, int]) -> np.ndarray:
    image = pixels(smooth(seed, 64)).copy()
    image[20:44, 20:40] = colour
    return image


def test_a_recoloured_template_matches_and_unrelated_images_do_not():
    for seed in range(5):
        assert template_match(template(seed, (200, 30, 30)), template(seed, (20, 200, 60))).is_match
        assert not template_match(template(seed, (200, 30, 30)), template(seed + 50, (200, 30, 30))).is_match


def test_a_plain_background_in_common_is_not_a_template():
    first, second = (np.full((64, 64, 3), 240, dtype=np.uint8) for _ in range(2))
    first[20:44, 20:40] = pixels(smooth(0))[:24, :20]
    second[20:44, 20:40] = pixels(smooth(1))[:24, :20]
    assert not template_match(first, second).is_match


def test_a_mask_restricts_the_distance_to_the_part_that_agrees():
    first, second = template(3, (255, 0, 0)), template(3, (0, 0, 255))
    mask = np.ones((64, 64), dtype=np.bool_)
    mask[20:44, 20:40] = False
    masked, unmasked = template_match(first, second, mask), template_match(first, second, np.ones_like(mask))
    assert masked.distance < 0.05 < REPLICATION_DISTANCE < unmasked.distance
    assert masked.is_match
    assert not unmasked.is_match
    assert not template_match(first, second, np.zeros_like(mask)).is_match
    with pytest.raises(ValueError, match=r"mask of \(8, 8\) cannot be compared"):
        template_match(first, second, mask[:8, :8])
