"""The denoiser predicts from changed token embeddings, at a timestep for each latent, and beside the empty prompt."""

import pytest
import torch

from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.prediction import Levels, Prediction
from tests.audit.counting import counted_latents
from tests.hooks.edits import n_hooks
from tests.tolerances import ARITHMETIC, BATCH
from tests.toy import build_toy_pipe

PROMPTS = ["a red star", "", "x" * 99, "naïve 猫"]
PREDICTION_TYPES = ["epsilon", "v_prediction", "sample"]


@pytest.fixture
def denoiser(toy_pipe) -> Denoiser:
    return open_denoiser(toy_pipe)


def embeds_of(conditioning: Conditioning) -> torch.Tensor:
    return conditioning.tensors["prompt_embeds"]


def test_unchanged_token_embeddings_give_the_conditioning_of_their_prompts(denoiser):
    encoded = denoiser.encode(PROMPTS)
    own = denoiser.token_embeddings(encoded)
    assert {name: vectors.shape for name, vectors in own.items()} == {"text_encoder": (4, 32, 32)}
    assert torch.equal(embeds_of(denoiser.encode_from(own, encoded)), embeds_of(encoded.conditioning))


def test_unchanged_token_embeddings_give_the_conditioning_of_their_prompts_if_padding_is_masked():
    pipe = build_toy_pipe()
    pipe.text_encoder.config.use_attention_mask = True
    denoiser = open_denoiser(pipe)
    encoded = denoiser.encode(["ab", "longer"])
    changed = denoiser.encode_from(denoiser.token_embeddings(encoded), encoded)
    assert torch.equal(embeds_of(changed), embeds_of(encoded.conditioning))


def test_token_embeddings_of_another_prompt_give_the_conditioning_of_that_prompt(denoiser):
    # of equal length: the end tokens have the same position
    own, other = denoiser.encode(["a red star"]), denoiser.encode(["a sad hart"])
    changed = embeds_of(denoiser.encode_from(denoiser.token_embeddings(other), own))
    assert torch.equal(changed, embeds_of(other.conditioning))
    assert not torch.equal(changed, embeds_of(own.conditioning))


def test_gradients_reach_the_token_embeddings_and_no_hook_is_left(denoiser):
    encoded = denoiser.encode(PROMPTS)
    vectors = denoiser.token_embeddings(encoded)["text_encoder"].requires_grad_()
    conditioning = denoiser.encode_from({"text_encoder": vectors}, encoded)
    noise = denoiser.predict(denoiser.initial_latents(0, range(4)), 500, conditioning).noise
    (gradient,) = torch.autograd.grad(noise.square().sum(), vectors)
    assert gradient.isfinite().all()
    assert (gradient.abs().sum(dim=2)[0, :10] > 0).all()
    assert n_hooks(denoiser.pipe) == 0


def test_the_noise_of_a_generator_does_not_depend_on_its_batch(denoiser):
    def generators():
        return [torch.Generator().manual_seed(i) for i in range(3)]

    together = denoiser.noise(generators())
    alone = [denoiser.noise([generator])[0] for generator in generators()]
    assert torch.equal(together, torch.stack(alone))
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(*denoiser.noise([generator] * 2))


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


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_a_timestep_for_each_latent_equals_separate_evaluations(prediction_type):
    denoiser = open_denoiser(build_toy_pipe(prediction_type=prediction_type))
    latents, noise = denoiser.initial_latents(0, range(3)), denoiser.initial_latents(1, range(3))
    conditioning = denoiser.encode(PROMPTS[:3]).conditioning
    timesteps = torch.tensor([100, 981, 500])
    noised = denoiser.noised(latents, noise, timesteps)
    with torch.no_grad():
        together = denoiser.predict(noised, timesteps, conditioning)
        for i, timestep in enumerate(timesteps.tolist()):
            row = slice(i, i + 1)
            assert torch.equal(denoiser.noised(latents[row], noise[row], timestep), noised[row])
            alone = denoiser.predict(noised[row], timestep, conditioning.rows(row))
            for form in ("native", "noise", "pull"):
                torch.testing.assert_close(getattr(alone, form)[0], getattr(together, form)[i], rtol=0, atol=10 * BATCH)
            # where there is little signal, x₀ is a difference divided by it
            scale = max(1.0, float(alone.denoised.abs().max()))
            torch.testing.assert_close(alone.denoised[0], together.denoised[i], rtol=0, atol=10 * BATCH * scale)
    assert denoiser.evaluations == 6


def test_noise_is_added_as_the_scheduler_does(denoiser, toy_pipe):
    latents, noise = denoiser.initial_latents(0, range(2)), denoiser.initial_latents(1, range(2))
    timesteps = torch.tensor([3, 700])
    expected = toy_pipe.scheduler.add_noise(latents, noise, timesteps)
    torch.testing.assert_close(denoiser.noised(latents, noise, timesteps), expected)
    assert denoiser.n_timesteps == toy_pipe.scheduler.config.num_train_timesteps


@pytest.mark.parametrize("timestep", [981, torch.tensor([981, 1, 500])], ids=["one", "one each"])
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_beside_the_empty_prompt_a_prediction_is_the_prompts_at_twice_the_cost(prediction_type, timestep):
    denoiser = open_denoiser(build_toy_pipe(prediction_type=prediction_type))
    latents = denoiser.initial_latents(0, range(3))
    conditioning = denoiser.encode(["zzqx !!!!", "", "a red star"]).conditioning
    with torch.no_grad():
        with denoiser.guided(), counted_latents() as count:
            guided = denoiser.predict(latents, timestep, conditioning)
        assert denoiser.evaluations == count.n_latents == 6
        plain = denoiser.predict(latents, timestep, conditioning)
    assert denoiser.evaluations == 9  # nothing is guided after the context
    torch.testing.assert_close(guided.native, plain.native, rtol=0, atol=ARITHMETIC)
    torch.testing.assert_close(guided.noise, plain.noise, rtol=ARITHMETIC, atol=ARITHMETIC)


def test_a_guided_prediction_is_the_conditional_half_of_the_pipelines_guided_batch(denoiser, toy_pipe):
    latents = denoiser.initial_latents(0, range(2))
    prompts = ["a red star", "zzqx !!!!"]
    prompt_embeds, empty_embeds = toy_pipe.encode_prompt(prompts, "cpu", 1, True)
    with torch.no_grad(), denoiser.guided():
        guided = denoiser.predict(latents, 981, denoiser.encode(prompts).conditioning)
        both = torch.cat([empty_embeds, prompt_embeds])
        expected = toy_pipe.unet(latents.repeat(2, 1, 1, 1), 981, encoder_hidden_states=both).sample
    assert torch.equal(guided.native, expected[2:])


def test_guidance_ends_with_an_error(denoiser):
    with pytest.raises(KeyError), denoiser.guided():
        raise KeyError
    with torch.no_grad(), counted_latents() as count:
        denoiser.predict(denoiser.initial_latents(0, [0]), 981, denoiser.unconditional(1))
    assert count.n_latents == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_in_half_precision_little_noise_is_not_rounded_away(dtype, prediction_type):
    pipe = build_toy_pipe(prediction_type=prediction_type).to(dtype)
    denoiser, timestep = open_denoiser(pipe), 0
    with torch.no_grad():
        conditioning = denoiser.encode(["a red star"]).conditioning
        predicted = denoiser.predict(denoiser.initial_latents(0, [0]), timestep, conditioning)
    alpha = pipe.scheduler.alphas_cumprod[timestep]
    precise = Prediction(
        predicted.native.double(),
        predicted.latents.double(),
        Levels(alpha.sqrt().double(), (1 - alpha).sqrt().double()),
        predicted.prediction_type,
    )
    torch.testing.assert_close(predicted.noise.double(), precise.noise, rtol=1e-3, atol=0)


def test_half_precision_gives_nearly_the_same_noise():
    half = open_denoiser(build_toy_pipe().to(torch.float16))
    whole = open_denoiser(build_toy_pipe())
    noises = []
    for denoiser in (half, whole):
        latents = denoiser.initial_latents(0, [0, 1])
        with torch.no_grad():
            noise = denoiser.predict(latents, 981, denoiser.encode(["a", "b"]).conditioning).noise
        assert noise.dtype == denoiser.dtype
        noises.append(noise.float())
    assert (noises[0] - noises[1]).abs().max() < 0.05 * noises[1].abs().max()
