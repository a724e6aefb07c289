"""A sampled picture depends on its prompt and seeds alone: not on its batch, and not on who watches."""

import numpy as np
import pytest
import torch

from audit.denoiser import Denoiser
from audit.sampling import renoise_pictures, sample_embeds, sample_generator, sample_pictures
from hooks import SITE_KINDS, NonFiniteActivation, find_sites, observe, site_modules
from tests.tolerances import PICTURE_LEVELS
from tests.toy import build_toy_pipe

PROMPTS = ["a red star", "a red star", "the bakery of Ada Vasari"]
INDICES = [0, 1, 0]


def sample(pipe, prompts=PROMPTS, indices=INDICES, run_seed=0):
    return sample_pictures(pipe, prompts, indices, run_seed=run_seed, num_inference_steps=2, guidance_scale=7.5)


def furthest(a, b) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_picture_does_not_depend_on_its_batch(toy_pipe):
    together = sample(toy_pipe)
    assert together.shape == (3, 16, 16, 3)
    assert together.dtype == np.uint8
    for index, (prompt, image_index) in enumerate(zip(PROMPTS, INDICES, strict=True)):
        alone = sample(toy_pipe, [prompt], [image_index])
        assert furthest(alone[0], together[index]) <= PICTURE_LEVELS


def test_equal_calls_give_equal_pictures_whatever_the_global_seed(toy_pipe):
    first = sample(toy_pipe)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(sample(toy_pipe), first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_hooks_do_not_change_a_picture(toy_pipe):
    sites = find_sites(toy_pipe, [kind for kind in SITE_KINDS if kind != "text_mlp"])
    plain = sample(toy_pipe)
    with observe(site_modules(toy_pipe, sites), sites, lambda *_: None, expected_firings=2):
        watched = sample(toy_pipe)
    np.testing.assert_array_equal(watched, plain)


def test_prompts_and_seeds_give_other_pictures(toy_pipe):
    pictures = [*sample(toy_pipe), *sample(toy_pipe, run_seed=1)]
    for i, a in enumerate(pictures):
        assert all(furthest(a, b) > 20 for b in pictures[:i])


def test_generators_differ_in_every_part_of_their_key():
    keys = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a\n1", 0), (10, "a", 0), (1, "a", 10)]
    seeds = {sample_generator(*key).initial_seed() for key in keys}
    assert len(seeds) == len(keys)
    assert sample_generator(0, "猫", 3).initial_seed() == sample_generator(0, "猫", 3).initial_seed()


def test_picture_that_is_not_finite_is_an_error():
    pipe = build_toy_pipe(latent_size=4)
    torch.nn.init.constant_(pipe.vae.decoder.conv_out.bias, torch.nan)
    with pytest.raises(NonFiniteActivation, match="picture of prompt 'a red star', image 0 is not finite"):
        sample(pipe)


def embeds_of(pipe, prompts=PROMPTS):
    denoiser = Denoiser(pipe)
    return denoiser.embed(denoiser.tokenize(prompts)).float().cpu()


def generators(prompts=PROMPTS, indices=INDICES):
    return [sample_generator(0, prompt, index) for prompt, index in zip(prompts, indices, strict=True)]


def test_a_prompts_embeddings_give_the_prompts_pictures(toy_pipe):
    settings = {"num_inference_steps": 2, "guidance_scale": 7.5}
    found = sample_embeds(toy_pipe, embeds_of(toy_pipe), generators(), batch_size=2, **settings)
    assert furthest(found, sample(toy_pipe)) <= PICTURE_LEVELS


def renoised(pipe, pictures, strength, rows=slice(None), batch_size=2):
    embeds = embeds_of(pipe)[rows]
    settings = {"num_inference_steps": 10, "strength": strength, "batch_size": batch_size}
    return renoise_pictures(pipe, pictures[rows], embeds, generators()[rows], **settings)


def test_a_renoised_picture_depends_on_itself_alone(toy_pipe):
    pictures = sample(toy_pipe)
    together = renoised(toy_pipe, pictures, 0.3)
    alone = renoised(toy_pipe, pictures, 0.3, slice(2, 3))
    assert together.shape == pictures.shape
    assert furthest(alone[0], together[2]) <= PICTURE_LEVELS


def test_pure_noise_forgets_the_picture_and_less_does_not(toy_pipe):
    black, white = (np.full((3, 16, 16, 3), value, dtype=np.uint8) for value in (0, 255))
    apart = [np.abs(renoised(toy_pipe, black, s).astype(int) - renoised(toy_pipe, white, s)).mean() for s in (1.0, 0.2)]
    assert apart[0] < apart[1]


def test_broken_pictures_are_errors_wherever_they_come_from():
    pipe = build_toy_pipe(latent_size=4)
    torch.nn.init.constant_(pipe.vae.decoder.conv_out.bias, torch.nan)
    settings = {"num_inference_steps": 2, "batch_size": 2}
    with pytest.raises(NonFiniteActivation, match="picture of start 0 is not finite"):
        sample_embeds(pipe, embeds_of(pipe), generators(), guidance_scale=1.0, **settings)
    grey = np.full((3, 8, 8, 3), 128, dtype=np.uint8)
    with pytest.raises(NonFiniteActivation, match="picture of picture 0 is not finite"):
        renoise_pictures(pipe, grey, embeds_of(pipe), generators(), strength=1.0, **settings)
