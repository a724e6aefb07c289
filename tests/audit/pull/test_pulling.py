"""A pull at an image depends on that image and its key alone, costs what its plan says, and stays near its start."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from flashbulb.audit.ascent import climb as climbing
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.pull.pulling import PullPlan, pull
from tests.tolerances import IMAGE_LEVELS

PLAN = PullPlan(
    run_seed=0,
    n_steps=3,
    learning_rate=0.1,
    radius=1.0,
    lowest=0.6,
    highest=0.99,
    n_samples=2,
    sample_steps=2,
    guidance_scale=2.0,
    batch_size=2,
    checkpointing=False,
)


@pytest.fixture(scope="module")
def images() -> RgbImages:
    """Three images of random blocks."""
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8), np.ones((1, 4, 4, 1), dtype=np.uint8))


def levels_apart(images: RgbImages, other: RgbImages) -> int:
    return int(np.abs(images.astype(int) - other.astype(int)).max())


@pytest.mark.usefixtures("plain_descent")
def test_a_pull_does_not_depend_on_the_other_images(toy_pipe: StableDiffusionPipeline, images: RgbImages) -> None:
    denoiser = open_denoiser(toy_pipe)
    together = pull(denoiser, images, ["a", "b", "c"], PLAN)
    alone = pull(denoiser, images[2:], ["c"], PLAN)
    assert together.shape == (3, 2, *images.shape[1:])
    assert levels_apart(together[2], alone[0]) <= IMAGE_LEVELS
    assert levels_apart(together[2], together[0]) > IMAGE_LEVELS


def test_the_key_seeds_the_samples_and_the_run_seed_too(toy_pipe: StableDiffusionPipeline, images: RgbImages) -> None:
    denoiser = open_denoiser(toy_pipe)
    first, again = (pull(denoiser, images[:1], ["a"], PLAN) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert levels_apart(first, pull(denoiser, images[:1], ["b"], PLAN)) > IMAGE_LEVELS
    assert levels_apart(first, pull(denoiser, images[:1], ["a"], replace(PLAN, run_seed=1))) > IMAGE_LEVELS


def test_a_pull_costs_what_its_plan_says(toy_pipe: StableDiffusionPipeline, images: RgbImages) -> None:
    denoiser = open_denoiser(toy_pipe)
    pull(denoiser, images, ["a", "b", "c"], PLAN)
    assert denoiser.evaluations == 3 * PLAN.evaluations(denoiser) == 3 * (3 * 3 + 2 * 2 * 2)


def test_an_ascent_denoises_its_image_better_at_noise_it_never_saw_and_stays_near_its_start(
    toy_pipe: StableDiffusionPipeline, images: RgbImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    original = climbing._climb_batch

    def keep(*arguments: object) -> climbing.Climbed:
        found.append(original(*arguments))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(climbing, "_climb_batch", keep)
    denoiser = open_denoiser(toy_pipe)
    pull(denoiser, images[:1], ["a"], replace(PLAN, n_steps=20))
    (climbed,) = found
    latents, start = denoiser.encode_images(images[:1]), denoiser.encode([""]).conditioning
    losses = []
    for conditioning in (start, climbed.conditioning):
        noise = denoiser.noise([torch.Generator().manual_seed(i) for i in range(8)])
        noised = denoiser.noised(latents.expand_as(noise), noise, 800)
        with torch.no_grad():
            predicted = denoiser.predict(noised, 800, conditioning.repeat(8)).noise
        losses.append(float((predicted - noise).square().mean()))
    at_start, at_end = losses
    assert at_end < at_start
    moved = climbed.conditioning.tensors["prompt_embeds"] - start.tensors["prompt_embeds"]
    lengths = start.tensors["prompt_embeds"].norm(dim=-1)
    assert (moved.norm(dim=-1) <= PLAN.radius * lengths * (1 + 1e-5)).all()
