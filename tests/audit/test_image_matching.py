"""Copies are told from strangers, whole, in a window or in part; flat and dark pictures are evidence of nothing."""

import numpy as np
import pytest
from PIL import Image

from audit.evidence import REPLICATION_DISTANCE, tile_distances
from audit.training.matching import Alignment, align, is_replica, luma, match, overlap, reduced, zncc
from audit.training.templates import template_match

SIDE = 48


def smooth(seed: int, side: int = SIDE) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture)


def test_zncc_ignores_brightness_and_contrast_but_not_content():
    picture = luma(pixels(smooth(0)))
    assert zncc(picture, 0.5 * picture + 0.2) == pytest.approx(1, abs=1e-5)
    assert zncc(picture, -picture) == pytest.approx(-1, abs=1e-5)
    assert abs(zncc(picture, luma(pixels(smooth(1))))) < 0.6
    assert zncc(picture, np.full_like(picture, 0.5)) == 0


def test_dark_strangers_are_near_but_no_replicas():
    rng = np.random.default_rng(0)
    dark, other = (rng.integers(0, 45, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(2))
    distance = float(tile_distances(dark[None], other)[0])
    assert distance <= REPLICATION_DISTANCE
    assert not is_replica(dark, other, distance)
    assert is_replica(dark, dark, 0.0)


def test_a_flat_picture_replicates_nothing_not_even_itself():
    flat = np.full((SIDE, SIDE, 3), 250, dtype=np.uint8)
    assert not is_replica(flat, flat, 0.0)
    assert not template_match(flat, flat).is_match


@pytest.mark.parametrize("wrong", [(0.0, 0.0, 0.0), (0.02, -0.02, 0.0), (-0.015, 0.01, 0.015)])
def test_alignment_finds_the_window_that_a_sample_shows(wrong):
    picture = smooth(4, 96)
    box = (12.0, 8.0, 88.0, 84.0)
    sample = pixels(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))
    truth = Alignment(12 / 96, 8 / 96, 76 / 96)
    start = Alignment(*(value + error for value, error in zip(truth, wrong, strict=True)))
    found = align(luma(sample), picture.convert("L"), start)
    assert tuple(found) == pytest.approx(tuple(truth), abs=0.015)
    matched = match(sample, picture, found)
    assert matched is not None
    assert matched.is_copy
    assert matched.box == pytest.approx([value / 96 for value in box], abs=0.02)


def test_strangers_are_no_copies_wherever_they_are_aligned():
    start = Alignment(0.05, 0.05, 0.9)
    for seed in range(10):
        sample, picture = pixels(smooth(seed)), smooth(seed + 100)
        matched = match(sample, picture, align(luma(sample), picture.convert("L"), start))
        assert matched is None or not matched.is_copy


def test_overlap_is_what_lies_on_both():
    both = overlap(Alignment(-0.25, 0.0, 1.0), (40, 40), (80, 80))
    assert both is not None
    assert (both.left, both.top, both.right, both.bottom) == (10, 0, 40, 40)
    assert both.box == (0.0, 0.0, 60.0, 80.0)
    assert overlap(Alignment(-0.6, 0.0, 1.0), (40, 40), (80, 80)) is None
    assert overlap(Alignment(2.0, 0.0, 1.0), (40, 40), (80, 80)) is None


def test_reduced_keeps_the_shape_and_never_enlarges():
    assert reduced(Image.new("RGB", (400, 200)), 50).size == (100, 50)
    assert reduced(Image.new("RGB", (40, 20)), 50).size == (40, 20)


def template(seed: int, colour: tuple[int, int, int]) -> np.ndarray:
    picture = pixels(smooth(seed, 64)).copy()
    picture[20:44, 20:40] = colour
    return picture


def test_recoloured_template_matches_and_strangers_do_not():
    for seed in range(5):
        assert template_match(template(seed, (200, 30, 30)), template(seed, (20, 200, 60))).is_match
        assert not template_match(template(seed, (200, 30, 30)), template(seed + 50, (200, 30, 30))).is_match


def test_shared_plain_background_is_no_template():
    one, two = (np.full((64, 64, 3), 240, dtype=np.uint8) for _ in range(2))
    one[20:44, 20:40] = pixels(smooth(0))[:24, :20]
    two[20:44, 20:40] = pixels(smooth(1))[:24, :20]
    assert not template_match(one, two).is_match


def test_mask_restricts_the_distance_to_the_part_that_is_the_same():
    one, two = template(3, (255, 0, 0)), template(3, (0, 0, 255))
    mask = np.ones((64, 64), dtype=np.bool_)
    mask[20:44, 20:40] = False
    masked, whole = template_match(one, two, mask), template_match(one, two, np.ones_like(mask))
    assert masked.distance < 0.05 < REPLICATION_DISTANCE < whole.distance
    assert masked.is_match
    assert not whole.is_match
    assert not template_match(one, two, np.zeros_like(mask)).is_match
    with pytest.raises(ValueError, match=r"mask of \(8, 8\) cannot be compared"):
        template_match(one, two, mask[:8, :8])
