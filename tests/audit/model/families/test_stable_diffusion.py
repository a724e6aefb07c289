"""Stable Diffusion's schedules are read as the pipeline reads them, and what cannot be read is refused in one line."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from transformers import CLIPTextModelWithProjection

from flashbulb.audit.model.calls import observed_predictions
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families.stable_diffusion import StableDiffusion
from flashbulb.audit.model.sampling import sample_generator
from tests.tolerances import ARITHMETIC
from tests.toy import build_toy_pipe
from tests.toy_variants import build_zero_snr_pipe


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_the_prediction_type_is_the_schedulers(prediction_type):
    assert StableDiffusion(build_toy_pipe(prediction_type=prediction_type)).prediction_type == prediction_type


def test_an_unknown_prediction_type_is_refused():
    pipe = build_toy_pipe()
    for unknown in ("flow", "flow_prediction"):
        pipe.scheduler.register_to_config(prediction_type=unknown)
        with pytest.raises(ModelError, match=f"unknown prediction type '{unknown}'; .* epsilon, v_prediction, sample"):
            StableDiffusion(pipe)


@pytest.mark.parametrize(
    ("scheduler_class", "options"),
    [
        (None, {}),
        (PNDMScheduler, {"skip_prk_steps": True}),
        (EulerDiscreteScheduler, {"timestep_spacing": "leading"}),
        (EulerDiscreteScheduler, {"timestep_spacing": "linspace", "use_karras_sigmas": True}),
        (HeunDiscreteScheduler, {"timestep_spacing": "leading", "use_karras_sigmas": True}),
        (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
        (DDIMScheduler, {"timestep_spacing": "trailing"}),
    ],
)
def test_first_and_last_timestep_are_those_of_the_pipelines_calls(scheduler_class, options):
    pipe = build_toy_pipe(latent_size=4)
    if scheduler_class is not None:
        pipe.scheduler = scheduler_class.from_config(pipe.scheduler.config, **options)
    seen = []
    handle = pipe.unet.register_forward_pre_hook(lambda _module, args: seen.append(float(args[1])))
    pipe("a", num_inference_steps=3, output_type="latent")
    handle.remove()
    denoiser = StableDiffusion(pipe)
    for timestep, expected in ((denoiser.first_timestep(3), seen[0]), (denoiser.last_timestep(3), seen[-1])):
        assert isinstance(timestep, int)
        assert timestep == pytest.approx(expected, abs=0.01)
    assert denoiser.first_timestep(3) > 600


def test_without_signal_prompts_still_differ_in_what_the_model_predicts():
    denoiser = StableDiffusion(build_zero_snr_pipe())
    timestep = denoiser.first_timestep(50)
    assert timestep == denoiser.n_timesteps - 1
    latents = denoiser.initial_latents(0, [0]).repeat(2, 1, 1, 1)
    with torch.no_grad():
        prediction = denoiser.predict(latents, timestep, denoiser.encode(["a red star", "zzqx !!!!"]).conditioning)
    assert torch.equal(prediction.noise, latents)
    for form in (prediction.native, prediction.denoised, prediction.pull):
        assert form.isfinite().all()
        assert (form[0] - form[1]).abs().max() > 100 * ARITHMETIC
    assert torch.equal(prediction.levels.signal.flatten(), torch.zeros(1))


def test_a_model_that_predicts_noise_is_refused_where_there_is_nothing_but_noise():
    denoiser = StableDiffusion(build_zero_snr_pipe("epsilon"))
    with pytest.raises(ModelError, match="set prediction_type to v_prediction, or rescale_betas_zero_snr to false"):
        denoiser.first_timestep(50)


def test_a_schedule_that_ends_in_noise_may_start_below_it():
    pipe = build_zero_snr_pipe("epsilon")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="leading")
    assert StableDiffusion(pipe).first_timestep(50) < 999


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("addition_embed_type", "text_time", "has addition_embed_type 'text_time'"),
        ("encoder_hid_dim_type", "text_proj", "has encoder_hid_dim_type 'text_proj'"),
        ("class_embed_type", "timestep", "has class_embed_type 'timestep'"),
        ("in_channels", 9, "takes 9 channels and returns 4"),
        ("sample_size", None, "has no sample_size"),
    ],
)
def test_unets_with_inputs_beyond_latents_and_text_are_refused(option, value, reason):
    pipe = build_toy_pipe()
    pipe.unet.register_to_config(**{option: value})
    with pytest.raises(ModelError, match=reason):
        StableDiffusion(pipe)


def test_a_unet_distilled_by_latent_consistency_is_evaluated_at_the_pipelines_own_scale():
    pipe = build_toy_pipe()
    pipe.unet = UNet2DConditionModel.from_config(pipe.unet.config, time_cond_proj_dim=16).eval()
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    denoiser = StableDiffusion(pipe)
    assert (denoiser.plain_scale, denoiser.is_guided(7.5)) == (7.5, False)
    with observed_predictions(pipe) as predictions:
        denoiser.sample_prompts(["a"], [0], run_seed=0, num_inference_steps=2, guidance_scale=7.5)
    latents = denoiser.noise([sample_generator(0, "a", 0)])
    with torch.no_grad():
        predicted = denoiser.predict(latents, denoiser.first_timestep(2), denoiser.encode(["a"]).conditioning)
    assert torch.equal(predicted.native, predictions[0])


def test_a_text_encoder_with_projection_is_refused():
    pipe = build_toy_pipe()
    pipe.text_encoder = CLIPTextModelWithProjection(pipe.text_encoder.config)
    with pytest.raises(ModelError, match="CLIPTextModelWithProjection gives one vector per prompt"):
        StableDiffusion(pipe)


def test_schedulers_without_discrete_timesteps_are_refused():
    pipe = build_toy_pipe(prediction_type="v_prediction")
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config, timestep_type="continuous")
    with pytest.raises(ModelError, match="EulerDiscreteScheduler has a timestep of 0"):
        StableDiffusion(pipe).first_timestep(10)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ModelError, match="FlowMatchEulerDiscreteScheduler has no alphas_cumprod"):
        StableDiffusion(pipe)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_schedulers_that_scale_in_a_way_of_their_own_are_refused(prediction_type):
    pipe = build_toy_pipe()
    pipe.scheduler = EDMEulerScheduler(prediction_type=prediction_type)
    with pytest.raises(ModelError, match=r"EDMEulerScheduler scales latents and timesteps of its own \(EDM\)") as error:
        StableDiffusion(pipe)
    assert "\n" not in str(error.value)
