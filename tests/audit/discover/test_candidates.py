"""Candidates of a round are single samples, each image once, those first that starts meet at."""

import numpy as np
import pytest

from flashbulb.audit.discover import candidates
from flashbulb.audit.discover.candidates import choose_apart, choose_samples, doubts
from flashbulb.audit.images.distances import RgbImage, RgbImages


def image(seed: int) -> RgbImage:
    """An image of random blocks, [32, 32, 3]."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))


def start(*seeds: int) -> RgbImages:
    return np.stack([image(seed) for seed in seeds])


def chosen(n: int, *starts: RgbImages, known: list[RgbImage] | None = None) -> list[tuple[int, int]]:
    glimpses = {(0, i): samples for i, samples in enumerate(starts)}
    return [tuple(place) for place in choose_samples(0, known or [], glimpses, n)]


def test_an_image_is_chosen_once_and_first_where_two_starts_show_it() -> None:
    places = chosen(9, start(1, 2), start(3, 4), start(5, 2))
    assert places[0] == (0, 1)
    assert len(places) == 5
    assert (2, 1) not in places


def test_what_is_known_is_not_chosen() -> None:
    assert set(chosen(9, start(1, 2), start(3, 2), known=[image(2)])) == {(0, 0), (1, 0)}


def test_no_more_are_chosen_than_asked_for() -> None:
    assert len(chosen(2, start(1, 2), start(3, 4))) == 2
    assert chosen(0, start(1, 2)) == []
    assert chosen(3) == []


def test_only_samples_of_the_round_are_chosen_but_earlier_ones_make_them_promising() -> None:
    glimpses = {(0, 0): start(1, 2), (1, 0): start(3, 4), (1, 1): start(5, 1)}
    assert choose_samples(1, [], glimpses, 1) == [(1, 1)]


def test_samples_that_agree_with_their_start_are_doubted_less() -> None:
    glimpses = {(0, 0): start(1, 1), (0, 1): start(2, 3)}
    agreeing, other = doubts(start(1, 2), [(0, 0), (0, 1)], glimpses)
    assert agreeing < other


def test_doubts_do_not_depend_on_how_many_images_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    glimpses = {(0, 0): start(1, 1, 2), (0, 1): start(2, 3, 4)}
    images, places = np.concatenate(list(glimpses.values())), [place for place in glimpses for _ in range(3)]
    together = doubts(images, places, glimpses)
    monkeypatch.setattr(candidates, "_BLOCK", 2)
    np.testing.assert_allclose(doubts(images, places, glimpses), together, atol=1e-9)


def test_images_are_chosen_apart_the_lowest_doubt_first() -> None:
    images = start(1, 2, 1, 3, 4)
    doubt = np.array([0.5, 0.1, 0.2, 0.9, 0.3])
    assert choose_apart(images, doubt, [], 9) == [1, 2, 4, 3]
    assert choose_apart(images, doubt, [image(2)], 2) == [2, 4]
    assert choose_apart(images, doubt, [], 0) == []
