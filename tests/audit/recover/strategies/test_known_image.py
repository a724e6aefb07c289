"""Pulling at a known image makes the model denoise it better, and is bounded where it would prove nothing."""

import numpy as np
import pytest
import torch

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.strategies.known_image import MAX_STEPS, KnownImagePlan, pull_out
from tests.toy import build_toy_pipe

PLAN = KnownImagePlan(run_seed=0, n_steps=12, learning_rate=0.1, n_noises=4)
IMAGE = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)


def embeds_of(conditioning):
    return conditioning.tensors["prompt_embeds"]


def loss_of(denoiser, conditioning):
    """Mean over many noises that the ascent did not see."""
    latents, generator = denoiser.encode_images(IMAGE), torch.Generator().manual_seed(99)
    timesteps = torch.randint(denoiser.n_timesteps, (48,), generator=generator)
    noise = denoiser.noise([generator] * 48)
    with torch.no_grad():
        noised = denoiser.noised(latents, noise, timesteps)
        predicted = denoiser.predict(noised, timesteps, conditioning.repeat(48)).noise
    return float((predicted - noise).square().mean())


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_image_is_denoised_better(prediction_type):
    denoiser = open_denoiser(build_toy_pipe(prediction_type=prediction_type))
    start = denoiser.encode(["a red star"]).conditioning
    before = denoiser.evaluations
    reached = pull_out(denoiser, IMAGE, start, "key", PLAN)
    assert denoiser.evaluations - before == PLAN.evaluations == 3 * PLAN.n_steps * PLAN.n_noises
    assert len(reached) == 1
    assert embeds_of(reached).shape == embeds_of(start).shape
    assert not embeds_of(reached).requires_grad
    assert loss_of(denoiser, reached) < loss_of(denoiser, start)


def test_equal_keys_give_equal_results_and_others_do_not(toy_pipe):
    denoiser = open_denoiser(toy_pipe)
    start = denoiser.encode(["a red star"]).conditioning.kept()
    plan = KnownImagePlan(0, 2, 0.1, 2)
    first, again, other = (embeds_of(pull_out(denoiser, IMAGE, start, key, plan)) for key in ("a", "a", "b"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all(p.requires_grad and p.grad is None for p in toy_pipe.unet.parameters())


@pytest.mark.parametrize("n_steps", [0, MAX_STEPS + 1, 500])
def test_steps_beyond_what_proves_memorization_are_refused(n_steps):
    with pytest.raises(ValueError, match=f"{n_steps} steps: .* give 1 to 50"):
        KnownImagePlan(0, n_steps, 0.1, 8)
