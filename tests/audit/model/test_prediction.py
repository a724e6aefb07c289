"""A prediction in one form gives the others, whatever the model was trained to predict."""

import pytest
import torch

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.prediction import Levels, Prediction, PredictionType
from tests.tolerances import ARITHMETIC
from tests.toy import build_toy_pipe

TYPES = list(PredictionType)
IN_SCHEDULERS = [kind for kind in TYPES if kind is not PredictionType.FLOW]


def draw(*seeds):
    return [torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds]


def levels_of(kind: PredictionType) -> Levels:
    """Levels of one latent each; a rectified flow's add to 1, the squares of the others do."""
    noise = torch.tensor([0.2, 0.6, 0.99])[:, None, None, None]
    return Levels(1 - noise if kind is PredictionType.FLOW else (1 - noise**2).sqrt(), noise)


def perfect_native(kind: PredictionType, clean, noise, levels: Levels):
    """What a model predicts that knows the clean latents and the noise, by the definition of its type."""
    return {
        PredictionType.EPSILON: noise,
        PredictionType.V_PREDICTION: levels.signal * noise - levels.noise * clean,
        PredictionType.SAMPLE: clean,
        PredictionType.FLOW: noise - clean,
    }[kind]


@pytest.mark.parametrize("kind", TYPES)
def test_a_perfect_prediction_gives_back_the_noise_and_the_clean_latents(kind):
    clean, noise = draw(0, 1)
    levels = levels_of(kind)
    latents = levels.signal * clean + levels.noise * noise
    prediction = Prediction(perfect_native(kind, clean, noise, levels), latents, levels, kind)
    scale = 1 / float(min(levels.signal.min(), levels.noise.min()))
    torch.testing.assert_close(prediction.noise, noise, rtol=0, atol=scale * ARITHMETIC)
    torch.testing.assert_close(prediction.denoised, clean, rtol=0, atol=scale * ARITHMETIC)


@pytest.mark.parametrize("kind", TYPES)
def test_noise_and_denoised_latents_make_up_the_noised_latents(kind):
    native, latents = draw(2, 3)
    prediction = Prediction(native, latents, levels_of(kind), kind)
    again = prediction.levels.signal * prediction.denoised + prediction.levels.noise * prediction.noise
    torch.testing.assert_close(again, latents, rtol=0, atol=10 * ARITHMETIC)


@pytest.mark.parametrize("kind", TYPES)
def test_the_pull_is_that_of_a_model_that_sees_nothing_in_noise_taken_off(kind):
    """Of a model that takes all of x_t for noise, `pull` is 0; of any other it is the difference of the two."""
    native, latents = draw(2, 3)
    levels = levels_of(kind)
    sees_nothing = {
        PredictionType.EPSILON: latents,
        PredictionType.V_PREDICTION: levels.signal * latents,
        PredictionType.SAMPLE: torch.zeros_like(latents),
        PredictionType.FLOW: latents,
    }[kind]
    assert torch.equal(Prediction(sees_nothing, latents, levels, kind).pull, torch.zeros_like(latents))
    assert torch.equal(Prediction(native, latents, levels, kind).pull, native - sees_nothing)


@pytest.mark.parametrize("kind", [PredictionType.V_PREDICTION, PredictionType.FLOW])
def test_without_signal_the_noise_is_the_latents_whatever_is_predicted(kind):
    first, second, latents = draw(0, 1, 2)
    levels = Levels(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    predictions = [Prediction(native, latents, levels, kind) for native in (first, second)]
    for prediction in predictions:
        assert torch.equal(prediction.noise, latents)
    for form in ("denoised", "pull"):
        assert not torch.equal(getattr(predictions[0], form), getattr(predictions[1], form))


@pytest.mark.parametrize("prediction_type", IN_SCHEDULERS)
@pytest.mark.parametrize("timestep", [1, 500, 981])
def test_noise_and_denoised_agree_with_the_conversion_of_the_scheduler(prediction_type, timestep):
    pipe = build_toy_pipe(prediction_type=prediction_type)
    denoiser = open_denoiser(pipe)
    latents = denoiser.initial_latents(0, range(2))
    conditioning = denoiser.encode(["a red star", ""]).conditioning
    with torch.no_grad():
        embeds = conditioning.tensors["prompt_embeds"]
        output = pipe.unet(latents, timestep, encoder_hidden_states=embeds).sample
        prediction = denoiser.predict(latents, timestep, conditioning)
    assert prediction.prediction_type == prediction_type
    assert torch.equal(prediction.native, output)
    assert torch.equal(prediction.latents, latents)
    pipe.scheduler.set_timesteps(50)
    original = pipe.scheduler.step(output, timestep, latents).pred_original_sample
    alpha = pipe.scheduler.alphas_cumprod[timestep]
    expected = (latents - alpha.sqrt() * original) / (1 - alpha).sqrt()
    scale = float(expected.abs().max() / (1 - alpha).sqrt())
    torch.testing.assert_close(prediction.noise, expected, rtol=0, atol=ARITHMETIC * max(1.0, scale))
    scale = float(original.abs().max())
    torch.testing.assert_close(prediction.denoised, original, rtol=0, atol=ARITHMETIC * max(1.0, scale))
    if prediction_type == "epsilon":
        assert torch.equal(prediction.noise, output)


@pytest.mark.parametrize("prediction_type", IN_SCHEDULERS)
def test_the_levels_are_those_that_noise_is_added_with(prediction_type):
    pipe = build_toy_pipe(prediction_type=prediction_type)
    denoiser = open_denoiser(pipe)
    clean, noise = draw(0, 1)
    timesteps = torch.tensor([20, 500, 981])
    latents = denoiser.noised(clean, noise, timesteps)
    with torch.no_grad():
        levels = denoiser.predict(latents, timesteps, denoiser.unconditional(3)).levels
    native = perfect_native(PredictionType(prediction_type), clean, noise, levels)
    prediction = Prediction(native, latents, levels, PredictionType(prediction_type))
    scale = 1 / float(min(levels.signal.min(), levels.noise.min()))
    torch.testing.assert_close(prediction.noise, noise, rtol=0, atol=scale * ARITHMETIC)
    torch.testing.assert_close(prediction.denoised, clean, rtol=0, atol=scale * ARITHMETIC)
