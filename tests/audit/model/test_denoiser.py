"""The denoiser also takes changed token embeddings, images as latents, and a timestep for each latent."""

import numpy as np
import pytest
import torch

from flashbulb.audit.model.denoiser import Denoiser
from tests.tolerances import BATCH
from tests.toy import build_toy_pipe

PROMPTS = ["a red star", "", "x" * 99, "naïve 猫"]


@pytest.fixture
def denoiser(toy_pipe) -> Denoiser:
    return Denoiser(toy_pipe)


def random_images(n):
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)


def test_unchanged_token_embeddings_give_the_embeddings_of_their_prompts(denoiser):
    tokens = denoiser.tokenize(PROMPTS)
    own = denoiser.token_embeddings(tokens)
    assert own.shape == (4, 32, 32)
    assert torch.equal(denoiser.embed_from(own, tokens), denoiser.embed(tokens))


def test_unchanged_token_embeddings_give_the_embeddings_of_their_prompts_if_padding_is_masked():
    pipe = build_toy_pipe()
    pipe.text_encoder.config.use_attention_mask = True
    denoiser = Denoiser(pipe)
    tokens = denoiser.tokenize(["ab", "longer"])
    assert torch.equal(denoiser.embed_from(denoiser.token_embeddings(tokens), tokens), denoiser.embed(tokens))


def test_token_embeddings_of_another_prompt_give_the_embeddings_of_that_prompt(denoiser):
    own, other = (
        denoiser.tokenize(["a red star"]),
        denoiser.tokenize(["a sad hart"]),
    )  # equal length: the end tokens have the same position
    changed = denoiser.embed_from(denoiser.token_embeddings(other), own)
    assert torch.equal(changed, denoiser.embed(other))
    assert not torch.equal(changed, denoiser.embed(own))


def test_the_noise_of_a_generator_does_not_depend_on_its_batch(denoiser):
    def generators():
        return [torch.Generator().manual_seed(i) for i in range(3)]

    together = denoiser.noise(generators())
    alone = [denoiser.noise([generator])[0] for generator in generators()]
    assert torch.equal(together, torch.stack(alone))
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(*denoiser.noise([generator] * 2))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_timestep_for_each_latent_equals_separate_evaluations(prediction_type):
    denoiser = Denoiser(build_toy_pipe(prediction_type=prediction_type))
    latents, noise = denoiser.initial_latents(0, range(3)), denoiser.initial_latents(1, range(3))
    embeds = denoiser.embed(denoiser.tokenize(PROMPTS[:3]))
    timesteps = torch.tensor([100, 981, 500])
    noised = denoiser.noised(latents, noise, timesteps)
    with torch.no_grad():
        together = denoiser.predict_noise(noised, timesteps, embeds)
        for i, timestep in enumerate(timesteps.tolist()):
            assert torch.equal(denoiser.noised(latents[i : i + 1], noise[i : i + 1], timestep), noised[i : i + 1])
            alone = denoiser.predict_noise(noised[i : i + 1], timestep, embeds[i : i + 1])
            torch.testing.assert_close(alone[0], together[i], rtol=0, atol=10 * BATCH)
    assert denoiser.evaluations == 6


def test_noise_is_added_as_the_scheduler_does(denoiser, toy_pipe):
    latents, noise = denoiser.initial_latents(0, range(2)), denoiser.initial_latents(1, range(2))
    timesteps = torch.tensor([3, 700])
    expected = toy_pipe.scheduler.add_noise(latents, noise, timesteps)
    torch.testing.assert_close(denoiser.noised(latents, noise, timesteps), expected)
    assert denoiser.n_timesteps == toy_pipe.scheduler.config.num_train_timesteps


def test_latents_are_decoded_as_the_pipeline_does(denoiser, toy_pipe):
    latents = denoiser.initial_latents(0, range(2))
    with torch.no_grad():
        decoded = toy_pipe.vae.decode(latents / toy_pipe.vae.config.scaling_factor).sample
    expected = toy_pipe.image_processor.postprocess(decoded, output_type="np")
    difference = denoiser.decode_latents(latents).astype(int) - (expected * 255).round()
    assert np.abs(difference).max() <= 1


def test_a_linear_encoder_gives_scaled_pixels():
    pipe = build_toy_pipe()

    class Halved(torch.nn.Module):
        """Encode pixels as latents: the three channels at half the size, and a small variance."""

        def forward(self, pixels):
            small = torch.nn.functional.avg_pool2d(pixels, 2)
            mean = torch.cat([small, small[:, :1]], dim=1)
            return torch.cat([mean, torch.full_like(mean, -30.0)], dim=1)

    pipe.vae.encoder, pipe.vae.quant_conv = Halved(), torch.nn.Identity()
    images = random_images(2)
    latents = Denoiser(pipe).encode_images(images)
    blocks = images.reshape(2, 8, 2, 8, 2, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_allclose(latents[:, :3] / pipe.vae.config.scaling_factor, blocks, atol=1e-5)


def test_decoding_undoes_the_shift_of_encoding():
    pipe = build_toy_pipe()
    plain = Denoiser(pipe)
    images = random_images(1)
    latents, decoded = plain.encode_images(images), plain.decode_latents(plain.encode_images(images))
    pipe.vae.register_to_config(shift_factor=0.5)
    shifted = Denoiser(pipe).encode_images(images)
    torch.testing.assert_close(shifted, latents - 0.5 * pipe.vae.config.scaling_factor)
    assert np.abs(plain.decode_latents(shifted).astype(int) - decoded).max() <= 1
