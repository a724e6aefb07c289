"""A sampled image depends only on its prompt and seeds, not on its batch or on hooks that observe."""

import numpy as np
import pytest
import torch

from flashbulb.audit.model.sampling import sample_generator, sample_images
from flashbulb.hooks import SITE_KINDS, NonFiniteActivation, find_sites, observe, site_modules
from tests.tolerances import IMAGE_LEVELS
from tests.toy import build_toy_pipe

PROMPTS = ["a red star", "a red star", "the bakery of Ada Vasari"]
INDICES = [0, 1, 0]


def sample(pipe, prompts=PROMPTS, indices=INDICES, run_seed=0):
    return sample_images(pipe, prompts, indices, run_seed=run_seed, num_inference_steps=2, guidance_scale=7.5)


def furthest(a, b) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_an_image_does_not_depend_on_its_batch(toy_pipe):
    together = sample(toy_pipe)
    assert together.shape == (3, 16, 16, 3)
    assert together.dtype == np.uint8
    for index, (prompt, image_index) in enumerate(zip(PROMPTS, INDICES, strict=True)):
        alone = sample(toy_pipe, [prompt], [image_index])
        assert furthest(alone[0], together[index]) <= IMAGE_LEVELS


def test_equal_calls_give_equal_images_whatever_the_global_seed(toy_pipe):
    first = sample(toy_pipe)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(sample(toy_pipe), first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_hooks_do_not_change_an_image(toy_pipe):
    sites = find_sites(toy_pipe, [kind for kind in SITE_KINDS if kind != "text_mlp"])
    plain = sample(toy_pipe)
    with observe(site_modules(toy_pipe, sites), sites, lambda *_: None, expected_firings=2):
        observed = sample(toy_pipe)
    np.testing.assert_array_equal(observed, plain)


def test_other_prompts_and_seeds_give_other_images(toy_pipe):
    images = [*sample(toy_pipe), *sample(toy_pipe, run_seed=1)]
    for i, a in enumerate(images):
        assert all(furthest(a, b) > 20 for b in images[:i])


def test_generators_differ_in_every_part_of_their_key():
    keys = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a\n1", 0), (10, "a", 0), (1, "a", 10)]
    seeds = {sample_generator(*key).initial_seed() for key in keys}
    assert len(seeds) == len(keys)
    assert sample_generator(0, "猫", 3).initial_seed() == sample_generator(0, "猫", 3).initial_seed()


def test_an_image_that_is_not_finite_is_an_error():
    pipe = build_toy_pipe(latent_size=4)
    torch.nn.init.constant_(pipe.vae.decoder.conv_out.bias, torch.nan)
    with pytest.raises(NonFiniteActivation, match="image of prompt 'a red star', image 0 is not finite"):
        sample(pipe)
