"""The largest group of alike samples is verified, and nothing else is."""

import numpy as np
import pytest

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.groups import LEAST_ALIKE, MOST_KEPT, alike_samples, look_at_groups
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from tests.audit.counting import counted_latents
from tests.audit.noisy_images import noisy_images


def small(*seeds):
    """Images of the size of the toy model."""
    return noisy_images(*seeds).reshape(len(seeds), 16, 2, 16, 2, 3).mean(axis=(2, 4)).astype(np.uint8)


def test_the_largest_group_is_given_with_its_middle_first():
    found = alike_samples(noisy_images(1, 2, 1, 2, 2, 3))
    assert sorted(found) == [1, 3, 4]
    assert len(alike_samples(noisy_images(*[1] * 9))) == MOST_KEPT


def test_too_few_alike_and_plain_colours_are_no_group():
    assert alike_samples(noisy_images(*[1] * (LEAST_ALIKE - 1), 2, 3, 4)) == []
    assert alike_samples(np.full((6, 32, 32, 3), 90, dtype=np.uint8)) == []


@pytest.mark.parametrize(("n_fine", "found"), [(0, []), (1, []), (2, [0, 1, 2])])
def test_samples_that_are_alike_only_without_their_details_are_no_group(n_fine, found):
    """Of four samples, `n_fine` share the details of the first; the others have their own."""
    signs = np.random.default_rng(0).choice([-1, 1], (4, 32, 1, 32, 1, 1))
    signs[: n_fine + 1] = signs[0]
    checked = 60 * np.array([[1, -1], [-1, 1]])[:, None, :, None]
    coarse = noisy_images(*[1] * 4).astype(int) // 4 + 96
    images = coarse[:, :, None, :, None] + signs * checked
    assert sorted(alike_samples(images.reshape(4, 64, 64, 3).astype(np.uint8))) == found


@pytest.fixture(scope="module")
def verifier(toy_pipe) -> Verifier:
    return Verifier(open_denoiser(toy_pipe), VerifyPlan(0, 2, 2, 4))


def test_groups_alone_are_verified_and_paid_for(verifier, toy_pipe):
    conditioning = open_denoiser(toy_pipe).encode(["a red star", "the sea"]).conditioning.kept()
    sampled = [small(1, 2, 3, 4, 5, 6), small(1, 2, 1, 1, 3, 1)]
    groups = [alike_samples(images) for images in sampled]
    with counted_latents() as count:
        without, with_group = look_at_groups(verifier, conditioning, ["a", "b"], sampled, groups)
    assert (without.signs, without.evaluations) == (None, 0)
    assert with_group.signs is not None
    assert with_group.evaluations == count.n_latents <= verifier.most_evaluations
    np.testing.assert_array_equal(without.images, sampled[0][:MOST_KEPT])
    np.testing.assert_array_equal(with_group.images, sampled[1][groups[1]])


def test_nothing_is_spent_where_no_prompt_has_a_group(verifier, toy_pipe):
    conditioning = open_denoiser(toy_pipe).encode(["a red star"]).conditioning.kept()
    with counted_latents() as count:
        (look,) = look_at_groups(verifier, conditioning, ["a"], [small(1, 2, 3)], [[]])
    assert (look.signs, look.evaluations, count.n_latents) == (None, 0, 0)
