"""Images become latents as the encoder means them, and latents become images as the pipeline decodes them."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.sampling import sample_generator
from tests.toy import build_toy_pipe
from tests.toy_variants import build_tiny_autoencoder


@pytest.fixture
def denoiser(toy_pipe) -> Denoiser:
    return open_denoiser(toy_pipe)


@pytest.fixture(scope="module")
def tiny() -> Denoiser:
    """Of a pipeline with an autoencoder that has no distribution."""
    parts = build_toy_pipe().components | {"vae": build_tiny_autoencoder()}
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return open_denoiser(pipe)


def random_images(n):
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)


def assert_decoded_as_the_pipeline_does(denoiser: Denoiser) -> None:
    pipe, latents = denoiser.pipe, denoiser.initial_latents(0, range(2))
    with torch.no_grad():
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    expected = pipe.image_processor.postprocess(decoded, output_type="np")
    difference = denoiser.decode_latents(latents).astype(int) - (expected * 255).round()
    assert np.abs(difference).max() <= 1


def test_latents_are_decoded_as_the_pipeline_does(denoiser):
    assert_decoded_as_the_pipeline_does(denoiser)


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
    latents = open_denoiser(pipe).encode_images(images)
    blocks = images.reshape(2, 8, 2, 8, 2, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_allclose(latents[:, :3] / pipe.vae.config.scaling_factor, blocks, atol=1e-5)


def test_decoding_undoes_the_shift_of_encoding():
    pipe = build_toy_pipe()
    plain = open_denoiser(pipe)
    images = random_images(1)
    latents, decoded = plain.encode_images(images), plain.decode_latents(plain.encode_images(images))
    pipe.vae.register_to_config(shift_factor=0.5)
    shifted = open_denoiser(pipe).encode_images(images)
    torch.testing.assert_close(shifted, latents - 0.5 * pipe.vae.config.scaling_factor)
    assert np.abs(plain.decode_latents(shifted).astype(int) - decoded).max() <= 1


def test_a_tiny_autoencoder_encodes_and_decodes_as_the_pipeline_does(tiny):
    vae, images = tiny.pipe.vae, random_images(2)
    assert_decoded_as_the_pipeline_does(tiny)
    pixels = tiny.pipe.image_processor.preprocess(images / 255.0)
    with torch.no_grad():
        expected = vae.encode(pixels.float()).latents * vae.config.scaling_factor
    torch.testing.assert_close(tiny.encode_images(images), expected)


def test_a_pipeline_with_a_tiny_autoencoder_samples_and_noises_again(tiny):
    settings = {"num_inference_steps": 4}
    images = tiny.sample_prompts(["a", "b"], [0, 1], run_seed=0, guidance_scale=3.0, **settings)
    assert images.shape == (2, 16, 16, 3)
    generators = [sample_generator(0, "a", i) for i in range(2)]
    again = tiny.renoise(
        images, tiny.encode(["a", "b"]).conditioning, generators, strength=0.5, batch_size=2, **settings
    )
    assert again.shape == images.shape
    assert (again != images).any()


def test_images_are_laid_out_as_they_are_read_back_and_latents_do_not_depend_on_it(denoiser):
    """Otherwise the last bits of a command that resumes differ from those of one that nobody interrupted."""
    sampled = denoiser.sample_prompts(["a"], [0], run_seed=0, num_inference_steps=2, guidance_scale=1.0)
    decoded = denoiser.decode_latents(denoiser.initial_latents(0, range(3)))
    for images in (sampled, decoded):
        assert images.flags.c_contiguous
    by_channel = np.ascontiguousarray(decoded.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert torch.equal(denoiser.encode_images(by_channel), denoiser.encode_images(decoded))
