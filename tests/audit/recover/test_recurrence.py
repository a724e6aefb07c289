"""Images come back at other seeds or with prompts that describe something else, but plain ones do not count."""

import numpy as np

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, tile_distances
from flashbulb.audit.images.reduced import reduce_images
from flashbulb.audit.recover.recurrence import Recurrence, find_recurrences
from tests.audit.noisy_images import noisy_images


def test_an_image_at_two_seeds_comes_back_and_different_ones_do_not():
    assert find_recurrences(["a mill"], [noisy_images(1, 2, 1, 3)]) == [[Recurrence(0, 1, 0)]]
    assert find_recurrences(["a mill"], [noisy_images(1, 2, 3, 4)]) == [[]]
    assert find_recurrences([], []) == []


def test_every_distinct_image_is_listed_the_most_frequent_first():
    (found,) = find_recurrences(["a mill"], [noisy_images(1, 2, 1, 2, 2, 3)])
    assert [(recurrence.sample, recurrence.n_seeds) for recurrence in found] == [(1, 2), (0, 1)]


def test_prompts_that_describe_the_same_give_no_evidence_to_one_another():
    samples = [noisy_images(1, 2), noisy_images(3, 1)]
    different = find_recurrences(["a mill by the sea", "leaflet of Melnai"], samples)
    assert different == [[Recurrence(0, 0, 1)], [Recurrence(1, 0, 1)]]
    assert find_recurrences(["a mill by the sea", "the sea by a red mill"], samples) == [[], []]


def test_plain_colours_and_regular_patterns_do_not_come_back():
    plain = np.full((2, 32, 32, 3), 90, dtype=np.uint8)
    stripes = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 200
    assert find_recurrences(["a red sea", "a blue wall"], [plain, stripes]) == [[], []]


def test_counts_are_those_of_every_pair_compared_by_itself():
    rng = np.random.default_rng(5)
    samples = [noisy_images(*rng.integers(0, 6, size=3)) for _ in range(7)]
    prompts = [f"word{i}" for i in range(7)]
    for position, found in enumerate(find_recurrences(prompts, samples)):
        for recurrence in found:
            image = samples[position][recurrence.sample]
            near = [int((tile_distances(other, image) <= AGREEMENT_DISTANCE).sum()) for other in samples]
            assert recurrence.n_seeds == near[position] - 1
            assert recurrence.n_prompts == sum(n > 0 for i, n in enumerate(near) if i != position)


def test_reduced_images_keep_what_is_alike_at_every_resolution():
    small = noisy_images(1, 1, 2)
    large = small.repeat(4, axis=1).repeat(4, axis=2)
    assert (reduce_images(large) == small).all()
