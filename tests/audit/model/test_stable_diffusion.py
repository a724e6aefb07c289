"""The denoiser computes what the pipeline computes: the same embeddings, timesteps and noise, without sampling."""

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from transformers import CLIPTextModelWithProjection

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.sampling import sample_images
from flashbulb.hooks import TokenClass
from tests.tolerances import ARITHMETIC
from tests.toy import MAX_POSITIONS, build_toy_pipe

PROMPTS = ["a red star", "", "x" * 99, "naïve 猫"]


@pytest.fixture
def denoiser(toy_pipe) -> Denoiser:
    return Denoiser(toy_pipe)


def encode(pipe, prompts):
    return pipe.encode_prompt(list(prompts), "cpu", 1, False)[0]


def test_embeddings_equal_those_of_the_pipeline(denoiser, toy_pipe):
    assert torch.equal(denoiser.embed(denoiser.tokenize(PROMPTS)), encode(toy_pipe, PROMPTS))


def test_embeddings_equal_those_of_the_pipeline_if_padding_is_another_token_or_masked():
    pipe = build_toy_pipe()
    pipe.tokenizer.pad_token = "!"
    pipe.text_encoder.config.use_attention_mask = True
    denoiser = Denoiser(pipe)
    tokens = denoiser.tokenize(["ab", "longer"])
    assert tokens.input_ids[0, -1] == pipe.tokenizer.convert_tokens_to_ids("!")
    assert tokens.attention_mask is not None
    assert tokens.attention_mask.sum(dim=1).tolist() == [4, 8]
    assert torch.equal(denoiser.embed(tokens), encode(pipe, ["ab", "longer"]))
    assert tokens.classes[0].tolist() == [0, 1, 1, 2, *[TokenClass.PADDING] * (MAX_POSITIONS - 4)]


def test_prompts_that_do_not_fit_are_marked(denoiser):
    fits, too_long = "x" * (MAX_POSITIONS - 2), "x" * (MAX_POSITIONS - 1)
    tokens = denoiser.tokenize([fits, too_long, ""])
    assert tokens.truncated == (False, True, False)
    assert torch.equal(tokens.input_ids[0, :-2], tokens.input_ids[1, :-2])  # the last letter ends its word in one only


def test_every_position_has_its_class(denoiser):
    classes = denoiser.tokenize(["ab", "", "x" * 99]).classes
    padding = TokenClass.PADDING
    assert classes[0].tolist() == [0, 1, 1, 2, *[padding] * (MAX_POSITIONS - 4)]
    assert classes[1].tolist() == [0, 2, *[padding] * (MAX_POSITIONS - 2)]
    assert classes[2].tolist() == [0, *[1] * (MAX_POSITIONS - 2), 2]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("timestep", [1, 500, 981])
def test_noise_agrees_with_the_conversion_of_the_scheduler(prediction_type, timestep):
    pipe = build_toy_pipe(prediction_type=prediction_type)
    denoiser = Denoiser(pipe)
    latents = denoiser.initial_latents(0, range(2))
    prompt_embeds = encode(pipe, ["a red star", ""])
    with torch.no_grad():
        output = pipe.unet(latents, timestep, encoder_hidden_states=prompt_embeds).sample
        noise = denoiser.predict_noise(latents, timestep, prompt_embeds)
    pipe.scheduler.set_timesteps(50)
    original = pipe.scheduler.step(output, timestep, latents).pred_original_sample
    alpha = pipe.scheduler.alphas_cumprod[timestep]
    expected = (latents - alpha.sqrt() * original) / (1 - alpha).sqrt()
    scale = float(expected.abs().max() / (1 - alpha).sqrt())
    torch.testing.assert_close(noise, expected, rtol=0, atol=ARITHMETIC * max(1.0, scale))
    if prediction_type == "epsilon":
        assert torch.equal(noise, output)


def test_an_unknown_prediction_type_is_refused(toy_pipe):
    pipe = build_toy_pipe()
    pipe.scheduler.register_to_config(prediction_type="flow")
    denoiser = Denoiser(pipe)
    with pytest.raises(ModelError, match="unknown prediction type 'flow'"):
        denoiser.predict_noise(denoiser.initial_latents(0, [0]), 1, encode(toy_pipe, [""]))


@pytest.mark.parametrize(
    ("scheduler_class", "options"),
    [
        (None, {}),
        (PNDMScheduler, {"skip_prk_steps": True}),
        (EulerDiscreteScheduler, {"timestep_spacing": "leading"}),
        (EulerDiscreteScheduler, {"timestep_spacing": "linspace", "use_karras_sigmas": True}),
        (HeunDiscreteScheduler, {"timestep_spacing": "leading", "use_karras_sigmas": True}),
        (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    ],
)
def test_first_timestep_is_where_the_pipeline_starts(scheduler_class, options):
    pipe = build_toy_pipe(latent_size=4)
    if scheduler_class is not None:
        pipe.scheduler = scheduler_class.from_config(pipe.scheduler.config, **options)
    starts = []

    def keep_first(_pipe, step, timestep, tensors):
        starts.extend([float(timestep)] if step == 0 else [])
        return tensors

    pipe("a", num_inference_steps=3, output_type="latent", callback_on_step_end=keep_first)
    first = Denoiser(pipe).first_timestep(3)
    assert isinstance(first, int)
    assert first == pytest.approx(starts[0], abs=0.01)
    assert first > 600


def test_initial_latents_depend_only_on_run_seed_and_index(denoiser):
    torch.manual_seed(1)
    together = denoiser.initial_latents(7, [0, 1, 2])
    torch.manual_seed(2)
    assert together.shape == (3, 4, 8, 8)
    for index in range(3):
        assert torch.equal(denoiser.initial_latents(7, [index])[0], together[index])
    others = torch.cat([together, denoiser.initial_latents(8, [0, 1, 2])]).flatten(1)
    assert (torch.cdist(others, others) + 100 * torch.eye(6)).min() > 10
    many = denoiser.initial_latents(0, range(200))
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02


def test_latents_that_are_not_square_have_the_shape_of_the_pipeline():
    parts = build_toy_pipe().components
    parts["unet"].register_to_config(sample_size=[4, 8])
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    assert Denoiser(pipe).latent_shape == (4, 4, 8)
    images = sample_images(pipe, ["a"], [0], run_seed=0, num_inference_steps=1, guidance_scale=7.5)
    assert images.shape == (1, 8, 16, 3)


def test_half_precision_gives_nearly_the_same_noise():
    half = Denoiser(build_toy_pipe().to(torch.float16))
    whole = Denoiser(build_toy_pipe())
    noises = []
    for denoiser in (half, whole):
        latents = denoiser.initial_latents(0, [0, 1])
        with torch.no_grad():
            noise = denoiser.predict_noise(latents, 981, denoiser.embed(denoiser.tokenize(["a", "b"])))
        assert noise.dtype == denoiser.dtype
        noises.append(noise.float())
    assert (noises[0] - noises[1]).abs().max() < 0.05 * noises[1].abs().max()


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("addition_embed_type", "text_time", "has addition_embed_type 'text_time'"),
        ("encoder_hid_dim_type", "text_proj", "has encoder_hid_dim_type 'text_proj'"),
        ("class_embed_type", "timestep", "has class_embed_type 'timestep'"),
        ("time_cond_proj_dim", 256, "has time_cond_proj_dim 256"),
        ("in_channels", 9, "takes 9 channels and returns 4"),
        ("sample_size", None, "has no sample_size"),
    ],
)
def test_unets_with_inputs_beyond_latents_and_text_are_refused(option, value, reason):
    pipe = build_toy_pipe()
    pipe.unet.register_to_config(**{option: value})
    with pytest.raises(ModelError, match=reason):
        Denoiser(pipe)


def test_schedulers_without_discrete_timesteps_are_refused():
    pipe = build_toy_pipe(prediction_type="v_prediction")
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config, timestep_type="continuous")
    with pytest.raises(ModelError, match="EulerDiscreteScheduler has a timestep of 0"):
        Denoiser(pipe).first_timestep(10)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ModelError, match="FlowMatchEulerDiscreteScheduler has no alphas_cumprod"):
        Denoiser(pipe)


def test_a_text_encoder_with_projection_is_refused():
    pipe = build_toy_pipe()
    pipe.text_encoder = CLIPTextModelWithProjection(pipe.text_encoder.config)
    denoiser = Denoiser(pipe)
    with pytest.raises(ModelError, match="CLIPTextModelWithProjection gives one vector per prompt"):
        denoiser.embed(denoiser.tokenize(["a"]))
