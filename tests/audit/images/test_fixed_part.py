"""The part that every seed repeats is found, and is neither nothing nor the complete image."""

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.images.fixed_part import fixed_part, save_mask

SIDE = 64


def noise(n_seeds=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n_seeds, SIDE, SIDE, 3), dtype=np.uint8)


def with_fixed(rows, columns, n_seeds=4):
    images = noise(n_seeds)
    images[:, rows, columns] = noise(1, seed=9)[:, rows, columns]
    return images


@pytest.mark.parametrize("n_seeds", [2, 4, 8])
def test_a_region_that_every_seed_repeats_is_the_fixed_part(n_seeds):
    rows, columns = slice(8, 40), slice(20, 60)
    part = fixed_part(with_fixed(rows, columns, n_seeds))
    expected = np.zeros((SIDE, SIDE), dtype=bool)
    expected[rows, columns] = True
    assert part.is_partial
    assert part.mask.shape == expected.shape
    assert (part.mask & expected).sum() / (part.mask | expected).sum() > 0.8
    assert not (part.mask & ~expected).any()
    assert part.share == part.mask.mean()


def test_the_complete_image_and_nothing_are_not_partial():
    complete = fixed_part(np.repeat(noise(1), 4, axis=0))
    nothing = fixed_part(noise())
    assert (complete.share, nothing.share) == (1.0, 0.0)
    assert not complete.is_partial
    assert not nothing.is_partial
    assert not fixed_part(with_fixed(slice(0, 8), slice(0, 8))).is_partial
    assert not fixed_part(with_fixed(slice(2, SIDE), slice(0, SIDE))).is_partial


def test_an_invisibly_small_change_is_ignored():
    images = np.repeat(noise(1) // 2, 4, axis=0)
    images += np.random.default_rng(1).integers(0, 10, images.shape, dtype=np.uint8)
    assert fixed_part(images).share == 1.0


def test_the_order_of_seeds_does_not_matter():
    images = with_fixed(slice(0, 30), slice(0, 64))
    np.testing.assert_array_equal(fixed_part(images).mask, fixed_part(images[::-1]).mask)


def test_the_mask_is_white_where_the_image_is_fixed(tmp_path):
    part = fixed_part(with_fixed(slice(0, 30), slice(0, 64)))
    with Image.open(save_mask(tmp_path / "folder" / "mask.png", part)) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), part.mask * np.uint8(255))
