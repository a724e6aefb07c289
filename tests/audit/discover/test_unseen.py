"""What a search has not found yet is estimated from how often it found each image."""

import numpy as np

from flashbulb.audit.discover.unseen import Finds
from flashbulb.audit.images.distances import RgbImage, RgbImages


def grey(level: int) -> RgbImage:
    return np.full((8, 8, 3), level, dtype=np.uint8)


def found(finds: Finds, known: list[RgbImage], image: RgbImage, *, is_new: bool) -> None:
    """Add a find as a search does."""
    if is_new:
        finds.add(image, known)
        known.append(image)
    else:
        finds.repeat(image, known)


def draw_finds(images: RgbImages, numbers: list[int]) -> Finds:
    finds, known = Finds(), list[RgbImage]()
    for place, number in enumerate(numbers):
        found(finds, known, images[number], is_new=number not in numbers[:place])
    return finds


def test_nothing_found_says_nothing() -> None:
    finds = Finds()
    finds.repeat(grey(9), [])
    assert finds.unseen() is None


def test_images_found_once_are_counted_among_all_finds() -> None:
    finds = draw_finds(np.stack([grey(0), grey(100), grey(200)]), [0, 1, 0, 2, 0])
    unseen = finds.unseen()
    assert finds.times == [3, 1, 1]
    assert unseen is not None
    assert (unseen.n_once, unseen.n_finds) == (2, 5)


def test_a_start_between_two_findings_shows_that_they_are_one_image() -> None:
    finds, known = Finds(), list[RgbImage]()
    for level in (100, 160, 230):
        found(finds, known, grey(level), is_new=True)
    assert finds.image_of == [0, 1, 2]
    found(finds, known, grey(131), is_new=False)  # within the replication distance of the first two
    assert (finds.times, finds.image_of) == ([1, 2, 1], [0, 0, 2])
    unseen = finds.unseen()
    assert unseen is not None
    assert (unseen.n_once, unseen.n_finds) == (1, 4)


def test_a_start_that_shows_no_finding_is_no_find() -> None:
    finds = draw_finds(np.stack([grey(0)]), [0])
    finds.repeat(grey(255), [grey(0)])
    assert finds.times == [1]
