"""Stable Diffusion XL and its distilled models are read as their pipeline reads them; others are refused by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flashbulb.audit.model.calls import first_call, observed_predictions
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.model.prediction import PredictionType
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.hooks import TokenClass
from tests.audit.model.families.properties import (
    assert_hooks_leave_images_unchanged,
    assert_recorded_rows_do_not_depend_on_their_batch,
)
from tests.tolerances import BATCH
from tests.toy import build_toy_xl_pipe
from tests.toy_variants import build_lcm_pipe, build_refiner_pipe, build_turbo_pipe, build_zero_snr_xl_pipe

PROMPTS = ["a red star!", "жар-птица over the sea"]
STEPS = {"num_inference_steps": 3}
PIPES: dict[str, Callable[[], Any]] = {
    "base": build_toy_xl_pipe,
    "empty prompt": lambda: build_toy_xl_pipe(force_zeros_for_empty_prompt=False),
    "no signal": build_zero_snr_xl_pipe,
    "turbo": build_turbo_pipe,
    "lcm": build_lcm_pipe,
}


@pytest.fixture(scope="module", params=PIPES)
def denoiser(request: pytest.FixtureRequest) -> Denoiser:
    return open_denoiser(PIPES[request.param]())


def sample(denoiser: Denoiser, guidance_scale: float) -> np.ndarray:
    return denoiser.sample_prompts(PROMPTS, [0, 1], run_seed=0, guidance_scale=guidance_scale, **STEPS)


def own_generators() -> list[torch.Generator]:
    return [sample_generator(0, prompt, i) for i, prompt in enumerate(PROMPTS)]


def own_call(denoiser: Denoiser, guidance_scale: float) -> Mapping[str, Any]:
    """What the pipeline's own call of `sample` gives its denoiser at the first step."""
    call = {**STEPS, "generator": own_generators(), "guidance_scale": guidance_scale, "output_type": "latent"}
    return first_call(denoiser.pipe, prompt=PROMPTS, **call)


def is_distilled(denoiser: Denoiser) -> bool:
    return denoiser.plain_scale > 1


def test_prompts_are_encoded_as_the_pipeline_encodes_them(denoiser: Denoiser) -> None:
    call = own_call(denoiser, denoiser.plain_scale)
    encoded = denoiser.encode(PROMPTS)
    assert torch.equal(encoded.conditioning.tensors["prompt_embeds"], call["encoder_hidden_states"])
    assert torch.equal(encoded.conditioning.tensors["pooled_prompt_embeds"], call["added_cond_kwargs"]["text_embeds"])
    assert set(encoded.classes) == {"text_encoder", "text_encoder_2"}
    first, second = encoded.classes.values()
    assert torch.equal(first, second)  # "!" is padding of the second after the end, and a word before it
    assert not torch.equal(*encoded.input_ids.values())
    assert (first[0] == TokenClass.PROMPT).sum() == len("aredstar!")


def test_prediction_at_the_first_step_is_what_the_pipeline_computes(denoiser: Denoiser) -> None:
    call = own_call(denoiser, denoiser.plain_scale)
    with observed_predictions(denoiser.pipe) as predictions:
        sample(denoiser, denoiser.plain_scale)
    with torch.no_grad():
        predicted = denoiser.predict(call["sample"], denoiser.first_timestep(3), denoiser.encode(PROMPTS).conditioning)
    assert torch.equal(predicted.native, predictions[0])


def test_the_side_without_a_prompt_is_the_pipelines(denoiser: Denoiser) -> None:
    if is_distilled(denoiser):
        return
    call = own_call(denoiser, 3.0)
    unconditional = denoiser.unconditional(2)
    conditioning = denoiser.encode(PROMPTS).conditioning
    for name, tensor in (
        ("prompt_embeds", call["encoder_hidden_states"]),
        ("pooled_prompt_embeds", call["added_cond_kwargs"]["text_embeds"]),
    ):
        negative, positive = denoiser.guidance.split(tensor, is_guided=True)
        torch.testing.assert_close(unconditional.tensors[name], negative, rtol=BATCH, atol=BATCH)  # 1 row and 2
        assert torch.equal(conditioning.tensors[name], positive)
        assert negative.any() != denoiser.pipe.config.force_zeros_for_empty_prompt
    with observed_predictions(denoiser.pipe) as predictions:
        sample(denoiser, 3.0)
    latents = denoiser.guidance.split(call["sample"], is_guided=True).conditional
    with torch.no_grad(), denoiser.guided():
        predicted = denoiser.predict(latents, denoiser.first_timestep(3), conditioning)
    assert torch.equal(predicted.native, denoiser.guidance.split(predictions[0], is_guided=True).conditional)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_images_of_encoded_prompts_are_those_of_the_prompts(denoiser: Denoiser, guidance_scale: float) -> None:
    encoded = denoiser.encode(PROMPTS).conditioning.kept()
    before = denoiser.evaluations
    images = denoiser.sample(encoded, own_generators(), **STEPS, guidance_scale=guidance_scale, batch_size=2)
    assert np.array_equal(images, sample(denoiser, guidance_scale))
    assert denoiser.evaluations - before == 4 * denoiser.evaluations_per_image(3, guidance_scale)
    assert denoiser.is_guided(guidance_scale) == (guidance_scale > 1 and not is_distilled(denoiser))


def test_hooks_leave_images_unchanged(denoiser: Denoiser) -> None:
    assert_hooks_leave_images_unchanged(denoiser, lambda: sample(denoiser, 3.0))


def test_recorded_rows_and_images_do_not_depend_on_their_batch(denoiser: Denoiser) -> None:
    assert_recorded_rows_do_not_depend_on_their_batch(denoiser, PROMPTS, 801)
    both = sample(denoiser, 3.0)
    (single,) = denoiser.sample_prompts(PROMPTS[1:], [1], run_seed=0, guidance_scale=3.0, **STEPS)
    assert np.abs(both[1].astype(int) - single).max() <= 1


def test_gradients_reach_the_token_embeddings_of_both_encoders(denoiser: Denoiser) -> None:
    encoded = denoiser.encode(PROMPTS)
    embeddings = {name: x.clone().requires_grad_() for name, x in denoiser.token_embeddings(encoded).items()}
    with denoiser.frozen():
        conditioning = denoiser.encode_from(embeddings, encoded)
        native = denoiser.predict(denoiser.initial_latents(0, [0, 1]), 801, conditioning).native
        gradients = torch.autograd.grad(native.square().sum(), list(embeddings.values()))
    for name, tensor in conditioning.tensors.items():
        assert torch.equal(tensor, encoded.conditioning.tensors[name])
    assert list(embeddings) == ["text_encoder", "text_encoder_2"]
    for name, gradient in zip(embeddings, gradients, strict=True):
        assert (gradient.abs().amax(dim=(1, 2)) > 0).all(), name


def test_images_are_noised_and_denoised_at_the_planned_cost(denoiser: Denoiser) -> None:
    images, encoded = sample(denoiser, 3.0), denoiser.encode(PROMPTS).conditioning
    before = denoiser.evaluations
    settings = {"num_inference_steps": 10, "strength": 0.5}
    again = denoiser.renoise(images, encoded, own_generators(), **settings, batch_size=2)
    assert again.shape == images.shape
    assert denoiser.evaluations - before == 2 * denoiser.evaluations_per_renoising(**settings)


def test_a_distilled_unet_reads_the_scale_and_is_never_guided() -> None:
    denoiser = open_denoiser(build_lcm_pipe())
    assert (denoiser.plain_scale, denoiser.is_guided(8.0)) == (5.0, False)
    assert not np.array_equal(sample(denoiser, 5.0), sample(denoiser, 2.0))
    latents = denoiser.encode_images(sample(denoiser, 5.0))
    drawn = denoiser.sample_latents(denoiser.encode(PROMPTS).conditioning, own_generators(), 3)
    assert drawn.shape == latents.shape


def test_a_single_step_is_sampled() -> None:
    denoiser = open_denoiser(build_turbo_pipe())
    assert denoiser.timesteps(1) == (999.0,)
    images = denoiser.sample_prompts(PROMPTS, [0, 0], run_seed=0, num_inference_steps=1, guidance_scale=1.0)
    assert np.ptp(images) > 10
    assert denoiser.evaluations == 2


def test_the_prediction_type_is_the_schedulers() -> None:
    assert open_denoiser(build_zero_snr_xl_pipe()).prediction_type is PredictionType.V_PREDICTION
    assert open_denoiser(build_zero_snr_xl_pipe()).first_timestep(50) == 999


def test_a_float16_autoencoder_runs_in_float32_as_in_the_pipeline() -> None:
    pipe = build_toy_xl_pipe()
    with torch.no_grad():
        pipe.vae.decoder.conv_in.weight *= 2e5  # overflows in float16; the norm after it takes the scale away
    pipe.vae.half().float()
    denoiser = open_denoiser(pipe)
    images = denoiser.decode_latents(denoiser.initial_latents(0, [0]))
    pipe.vae.half()
    for _ in range(2):
        assert np.array_equal(denoiser.decode_latents(denoiser.initial_latents(0, [0])), images)
        assert denoiser.encode_images(images).isfinite().all()
        assert pipe.vae.dtype == torch.float16


def test_a_float16_model_samples_without_the_libraries_warnings(tmp_path: Path) -> None:
    build_toy_xl_pipe().save_pretrained(tmp_path)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        loaded = load_model(str(tmp_path), device="cpu", dtype=torch.float16, allow_pickle=False)
        images = sample(open_denoiser(loaded.pipe), 3.0)
    assert np.ptp(images) > 10
    assert [str(warning.message) for warning in raised] == []


def test_a_refiner_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match="a refiner, which has one text encoder, only finishes images that another"):
        open_denoiser(build_refiner_pipe())


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("addition_embed_type", None, "has addition_embed_type None, those of Stable Diffusion XL have 'text_time'"),
        ("encoder_hid_dim_type", "ip_image_proj", "has encoder_hid_dim_type 'ip_image_proj', those of Stable"),
        ("in_channels", 9, "takes 9 channels and returns 4; inpainting, image-editing and depth models are not"),
        ("in_channels", 8, "takes 8 channels and returns 4; inpainting, image-editing and depth models are not"),
        ("sample_size", None, "has no sample_size"),
    ],
)
def test_unets_with_other_inputs_are_refused(option: str, value: Any, reason: str) -> None:
    pipe = build_toy_xl_pipe()
    pipe.unet.register_to_config(**{option: value})
    with pytest.raises(ModelError, match=reason):
        open_denoiser(pipe)


def test_an_autoencoder_that_shifts_latents_is_refused() -> None:
    pipe = build_toy_xl_pipe()
    pipe.vae.register_to_config(latents_mean=[0.1] * 4, latents_std=[1.0] * 4)
    with pytest.raises(ModelError, match="has latents_mean"):
        open_denoiser(pipe)


def test_rows_of_a_conditioning_keep_the_prompts_apart(denoiser: Denoiser) -> None:
    whole = denoiser.encode(PROMPTS).conditioning
    again = Conditioning.join(whole.each())
    for name, tensor in whole.tensors.items():
        assert torch.equal(again.tensors[name], tensor)
        assert torch.equal(whole.repeat(2).rows([0, 2]).tensors[name], tensor)
