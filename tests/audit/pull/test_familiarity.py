"""Familiarity compares an image with its variants: it depends on nothing else, and costs what its plan says."""

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.pull.familiarity import RankPlan, familiarity
from tests.tolerances import ARITHMETIC, BATCH

PLAN = RankPlan(run_seed=0, share=0.15, n_noises=2)


@pytest.fixture(scope="module")
def images() -> RgbImages:
    """Four images of random blocks."""
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (4, 4, 4, 3), dtype=np.uint8), np.ones((1, 4, 4, 1), dtype=np.uint8))


def test_an_images_familiarity_does_not_depend_on_the_others(
    toy_pipe: StableDiffusionPipeline, images: RgbImages
) -> None:
    denoiser = open_denoiser(toy_pipe)
    together = familiarity(denoiser, images, PLAN)
    alone = [familiarity(denoiser, image[None], PLAN)[0] for image in images[::-1]][::-1]
    assert np.ptp(together) > 10 * BATCH
    np.testing.assert_allclose(together, alone, atol=BATCH)


def test_an_image_that_equals_its_variants_is_not_familiar(
    toy_pipe: StableDiffusionPipeline, images: RgbImages
) -> None:
    grey = np.repeat(images[..., :1], 3, axis=3)
    symmetric = np.concatenate([grey[:, :, :8], grey[:, :, 7::-1]], axis=2)
    assert np.abs(familiarity(open_denoiser(toy_pipe), symmetric, PLAN)).max() < ARITHMETIC


def test_the_mirror_image_and_exchanged_colours_both_count(
    toy_pipe: StableDiffusionPipeline, images: RgbImages
) -> None:
    """What a model gains on an image over its mirror image, it loses on the mirror image over the image."""
    grey = np.repeat(images[..., :1], 3, axis=3)
    forward, backward = (
        familiarity(open_denoiser(toy_pipe), x, PLAN) for x in (grey, np.ascontiguousarray(grey[:, :, ::-1]))
    )
    assert np.abs(forward).max() > 5 * BATCH
    np.testing.assert_allclose(forward, -backward, atol=BATCH)
    symmetric = np.concatenate([images[:, :, :8], images[:, :, 7::-1]], axis=2)
    assert np.abs(familiarity(open_denoiser(toy_pipe), symmetric, PLAN)).max() > 5 * BATCH


def test_ranking_costs_what_its_plan_says(toy_pipe: StableDiffusionPipeline, images: RgbImages) -> None:
    denoiser = open_denoiser(toy_pipe)
    familiarity(denoiser, images, PLAN)
    assert denoiser.evaluations == len(images) * PLAN.evaluations == 4 * 8
