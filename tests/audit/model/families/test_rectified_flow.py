"""Transformers that predict a velocity go through the same seam as UNets: prompts, predictions, samples and sites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

from flashbulb.audit.model.calls import observed_predictions
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.families.flux import _pack, _unpack
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.model.sampling import sample_generator
from tests.audit.model.families.properties import (
    assert_hooks_leave_images_unchanged,
    assert_recorded_rows_do_not_depend_on_their_batch,
)
from tests.tolerances import ARITHMETIC, BATCH
from tests.toy_transformers import build_toy_flux_pipe, build_toy_sd3_pipe

PROMPTS = ["a red star", "жар-птица over the sea"]
STEPS = {"num_inference_steps": 3}
PIPES: dict[str, Callable[[], Any]] = {
    "sd3": build_toy_sd3_pipe,
    "sd3-t5": lambda: build_toy_sd3_pipe(with_t5=True),
    "flux-dev": build_toy_flux_pipe,
    "flux-schnell": lambda: build_toy_flux_pipe(guidance_embeds=False),
}


@pytest.fixture(scope="module", params=PIPES)
def denoiser(request: pytest.FixtureRequest) -> Denoiser:
    return open_denoiser(PIPES[request.param]())


def sample(denoiser: Denoiser, guidance_scale: float = 1.0) -> np.ndarray:
    return denoiser.sample_prompts(PROMPTS, [0, 1], run_seed=0, guidance_scale=guidance_scale, **STEPS)


def own_generators() -> list[torch.Generator]:
    return [sample_generator(0, prompt, i) for i, prompt in enumerate(PROMPTS)]


def first_predictions(denoiser: Denoiser) -> torch.Tensor:
    """What the pipeline's own call computes at its first step, as latents."""
    with observed_predictions(denoiser.pipe) as predictions:
        sample(denoiser)
    first = predictions[0]
    return first if first.ndim == 4 else _unpack(first, *denoiser.latent_shape[1:])


def test_prompts_are_encoded_as_the_pipeline_encodes_them(denoiser: Denoiser) -> None:
    accepted = {"prompt_2": None, "device": "cpu"} | (
        {"prompt_3": None, "do_classifier_free_guidance": False} if "Diffusion3" in type(denoiser.pipe).__name__ else {}
    )
    with torch.no_grad():
        own = [x for x in denoiser.pipe.encode_prompt(prompt=PROMPTS, **accepted) if x is not None and len(x) == 2]
    encoded = denoiser.encode(PROMPTS).conditioning.tensors
    assert torch.equal(encoded["prompt_embeds"], own[0])
    assert torch.equal(encoded["pooled_prompt_embeds"], own[1])


def test_native_prediction_at_the_first_step_is_what_the_pipeline_computes(denoiser: Denoiser) -> None:
    timestep = denoiser.first_timestep(3)
    assert timestep == 1000
    with torch.no_grad():
        predicted = denoiser.predict(denoiser.noise(own_generators()), timestep, denoiser.encode(PROMPTS).conditioning)
    assert torch.equal(predicted.native, first_predictions(denoiser))


def test_at_the_first_step_the_noise_is_x_t_whatever_the_prompt_and_the_native_prediction_is_not(
    denoiser: Denoiser,
) -> None:
    latents = denoiser.initial_latents(0, [0]).repeat(2, 1, 1, 1)
    with torch.no_grad():
        predicted = denoiser.predict(latents, denoiser.first_timestep(3), denoiser.encode(PROMPTS).conditioning)
    assert torch.equal(predicted.noise, latents)
    assert (predicted.native[0] - predicted.native[1]).abs().max() > 0.1
    torch.testing.assert_close(predicted.pull, -predicted.denoised, rtol=0, atol=ARITHMETIC)


def test_noise_and_denoised_latents_make_up_the_noised_latents(denoiser: Denoiser) -> None:
    clean, noise = denoiser.initial_latents(0, [0, 1]), denoiser.initial_latents(1, [0, 1])
    timesteps = torch.tensor([250.0, 800.0])
    noised = denoiser.noised(clean, noise, timesteps)
    with torch.no_grad():
        predicted = denoiser.predict(noised, timesteps, denoiser.encode(PROMPTS).conditioning)
    sigma = timesteps.reshape(-1, 1, 1, 1) / 1000
    torch.testing.assert_close(noised, (1 - sigma) * clean + sigma * noise, rtol=0, atol=ARITHMETIC)
    made_up = (1 - sigma) * predicted.denoised + sigma * predicted.noise
    torch.testing.assert_close(made_up, noised, rtol=0, atol=ARITHMETIC)
    alone = denoiser.predict(noised[1:], 800.0, denoiser.encode(PROMPTS[1:]).conditioning)
    torch.testing.assert_close(predicted.native[1:], alone.native, rtol=0, atol=BATCH)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_images_of_encoded_prompts_are_those_of_the_prompts(denoiser: Denoiser, guidance_scale: float) -> None:
    encoded = denoiser.encode(PROMPTS).conditioning.kept()
    settings = {**STEPS, "guidance_scale": guidance_scale, "batch_size": 2}
    assert np.array_equal(denoiser.sample(encoded, own_generators(), **settings), sample(denoiser, guidance_scale))


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_evaluations_are_counted_as_they_are_planned(denoiser: Denoiser, guidance_scale: float) -> None:
    before = denoiser.evaluations
    sample(denoiser, guidance_scale)
    assert denoiser.evaluations - before == 2 * denoiser.evaluations_per_image(3, guidance_scale)
    assert denoiser.is_guided(guidance_scale) == (guidance_scale > 1 and "FLUX" not in denoiser.title)


def test_hooks_leave_images_unchanged(denoiser: Denoiser) -> None:
    assert_hooks_leave_images_unchanged(denoiser, lambda: sample(denoiser))


def test_recorded_rows_do_not_depend_on_their_batch(denoiser: Denoiser) -> None:
    assert_recorded_rows_do_not_depend_on_their_batch(denoiser, PROMPTS, 1000.0)


def test_gradients_reach_every_text_encoder(denoiser: Denoiser) -> None:
    encoded = denoiser.encode(PROMPTS)
    embeddings = {name: x.clone().requires_grad_() for name, x in denoiser.token_embeddings(encoded).items()}
    with denoiser.frozen():
        conditioning = denoiser.encode_from(embeddings, encoded)
        native = denoiser.predict(denoiser.initial_latents(0, [0, 1]), 1000.0, conditioning).native
        gradients = torch.autograd.grad(native.square().sum(), list(embeddings.values()))
    for name, tensor in conditioning.tensors.items():
        assert torch.equal(tensor, encoded.conditioning.tensors[name])
    for name, gradient in zip(embeddings, gradients, strict=True):
        assert (gradient.abs().amax(dim=(1, 2)) > 0).all(), name


def test_substituted_token_embeddings_replace_the_words(denoiser: Denoiser) -> None:
    """The words of every encoder, T5's included, whose named input embedding never runs."""
    own, other = denoiser.encode(["a red star"]), denoiser.encode(["a sad hart"])
    with denoiser.frozen():  # attention of T5 takes another kernel where its weights want gradients
        changed = denoiser.encode_from(denoiser.token_embeddings(other), own).tensors
    assert all(torch.equal(changed[name], tensor) for name, tensor in other.conditioning.tensors.items())


def test_empty_prompt_is_what_guidance_compares_with(denoiser: Denoiser) -> None:
    expected = denoiser.encode([""]).conditioning.tensors
    found = denoiser.unconditional(3).tensors
    assert all(torch.equal(found[name], tensor.expand_as(found[name])) for name, tensor in expected.items())


def test_folder_without_t5_opens_as_it_was_saved(tmp_path) -> None:
    pipe = build_toy_sd3_pipe()
    pipe.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), device="cpu", dtype=torch.float32, allow_pickle=False)
    assert np.array_equal(sample(open_denoiser(loaded.pipe)), sample(open_denoiser(pipe)))


@pytest.mark.parametrize("build", [build_toy_sd3_pipe, build_toy_flux_pipe])
@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler])
def test_scheduler_that_plans_no_flow_is_refused(build, scheduler) -> None:
    pipe = build()
    pipe.scheduler = scheduler()
    with pytest.raises(ModelError, match=f"{scheduler.__name__} plans no flow"):
        open_denoiser(pipe)


def test_a_scheduler_that_takes_no_noise_levels_is_refused_for_flux() -> None:
    pipe = build_toy_flux_pipe()
    pipe.scheduler = FlowMatchHeunDiscreteScheduler()
    with pytest.raises(
        ModelError, match="FlowMatchHeunDiscreteScheduler takes no noise levels, which FluxPipeline plans"
    ):
        open_denoiser(pipe)


def test_transformer_that_reads_more_than_latents_is_refused() -> None:
    pipe = build_toy_flux_pipe()
    pipe.transformer = type(pipe.transformer).from_config(pipe.transformer.config, in_channels=192, out_channels=64)
    with pytest.raises(ModelError, match="takes 192 channels and returns 64; inpainting and depth models"):
        open_denoiser(pipe)


def test_packed_latents_are_unpacked_to_themselves() -> None:
    latents = torch.randn(2, 16, 8, 4, generator=torch.Generator().manual_seed(0))
    assert _pack(latents).shape == (2, 8, 64)
    assert torch.equal(_unpack(_pack(latents), 8, 4), latents)


def test_rows_of_a_conditioning_keep_the_prompts_apart(denoiser: Denoiser) -> None:
    whole = denoiser.encode(PROMPTS).conditioning
    again = Conditioning.join(whole.each())
    repeated = whole.repeat(2)
    for name, tensor in whole.tensors.items():
        assert torch.equal(again.tensors[name], tensor)
        assert torch.equal(repeated.rows([0, 2]).tensors[name], tensor)
