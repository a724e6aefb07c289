"""Sampling from what prompts were encoded to gives their images, leaves nothing behind, and is counted as it runs."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)

from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.sampling import sample_generator, sample_images
from flashbulb.hooks import SITE_KINDS, NonFiniteActivation, observe
from tests.audit.counting import counted_latents
from tests.cases import each_with_one
from tests.hooks.edits import n_hooks
from tests.tolerances import IMAGE_LEVELS
from tests.toy import build_toy_pipe
from tests.toy_variants import build_light_pipe

pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__")  # of the scheduler of linear multisteps

PROMPTS = ["a red star", "a red star", "the bakery of Ada Vasari"]
INDICES = [0, 1, 0]
QUICK = {"num_inference_steps": 2, "guidance_scale": 7.5}
SCHEDULERS = {
    "DDIM": (DDIMScheduler, {}),
    "PNDM": (PNDMScheduler, {"skip_prk_steps": True}),
    "Heun": (HeunDiscreteScheduler, {}),
    "KDPM2": (KDPM2DiscreteScheduler, {}),
    "Euler": (EulerDiscreteScheduler, {}),
    "DPM-Solver": (DPMSolverMultistepScheduler, {}),
    "LMS": (LMSDiscreteScheduler, {}),
}
CALLS_OF_TEN_STEPS = {"DDIM": 10, "PNDM": 11, "Heun": 19, "KDPM2": 19, "Euler": 10, "DPM-Solver": 10, "LMS": 10}


@pytest.fixture
def denoiser(toy_pipe) -> Denoiser:
    return open_denoiser(toy_pipe)


@pytest.fixture(scope="module", params=SCHEDULERS)
def scheduled(request) -> Denoiser:
    """Of a light pipeline with another scheduler."""
    pipe = build_light_pipe()
    scheduler_class, options = SCHEDULERS[request.param]
    pipe.scheduler = scheduler_class.from_config(pipe.scheduler.config, **options)
    return open_denoiser(pipe)


def furthest(a, b) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def conditioning_of(denoiser: Denoiser, prompts=PROMPTS) -> Conditioning:
    return denoiser.encode(prompts).conditioning.kept()


def generators(prompts=PROMPTS, indices=INDICES):
    return [sample_generator(0, prompt, index) for prompt, index in zip(prompts, indices, strict=True)]


def sample_prompts(denoiser: Denoiser, **settings):
    return denoiser.sample_prompts(PROMPTS, INDICES, run_seed=0, **(QUICK | settings))


def test_prompts_are_sampled_as_by_the_pipeline_itself(denoiser, toy_pipe):
    found = sample_prompts(denoiser)
    np.testing.assert_array_equal(found, sample_images(toy_pipe, PROMPTS, INDICES, run_seed=0, **QUICK))


def test_conditionings_give_the_images_of_their_prompts(denoiser):
    found = denoiser.sample(conditioning_of(denoiser), generators(), batch_size=2, **QUICK)
    assert furthest(found, sample_prompts(denoiser)) <= IMAGE_LEVELS


@pytest.mark.parametrize("kinds", [SITE_KINDS, [kind for kind in SITE_KINDS if kind != "text_mlp"]])
def test_hooks_do_not_change_an_image(denoiser, kinds):
    conditioning, sites = conditioning_of(denoiser), denoiser.sites(kinds)
    samplings = [lambda: sample_prompts(denoiser)]  # two steps, and two calls of the text encoder
    if "text_mlp" not in kinds:
        samplings.append(lambda: denoiser.sample(conditioning, generators(), batch_size=3, **QUICK))
    for sampling in samplings:
        plain = sampling()
        with observe(denoiser.modules(sites), sites, lambda *_: None, expected_firings=2):
            observed = sampling()
        np.testing.assert_array_equal(observed, plain)


def renoised(denoiser, images, strength, rows=slice(None), batch_size=2):
    settings = {"num_inference_steps": 10, "strength": strength, "batch_size": batch_size}
    return denoiser.renoise(images[rows], conditioning_of(denoiser).rows(rows), generators()[rows], **settings)


def test_a_renoised_image_does_not_depend_on_its_batch(denoiser):
    images = sample_prompts(denoiser)
    together = renoised(denoiser, images, 0.3)
    alone = renoised(denoiser, images, 0.3, slice(2, 3))
    assert together.shape == images.shape
    assert furthest(alone[0], together[2]) <= IMAGE_LEVELS


def test_pure_noise_erases_the_image_and_less_does_not(denoiser):
    black, white = (np.full((3, 16, 16, 3), value, dtype=np.uint8) for value in (0, 255))
    apart = [np.abs(renoised(denoiser, black, s).astype(int) - renoised(denoiser, white, s)).mean() for s in (1.0, 0.2)]
    assert apart[0] < apart[1]


def test_non_finite_images_are_errors_in_every_kind_of_sampling():
    pipe = build_toy_pipe(latent_size=4)
    torch.nn.init.constant_(pipe.vae.decoder.conv_out.bias, torch.nan)
    denoiser = open_denoiser(pipe)
    settings = {"num_inference_steps": 2, "batch_size": 2}
    with pytest.raises(NonFiniteActivation, match="image of prompt 'a red star', image 0 is not finite"):
        sample_prompts(denoiser)
    with pytest.raises(NonFiniteActivation, match="image of start 0 is not finite"):
        denoiser.sample(conditioning_of(denoiser), generators(), guidance_scale=1.0, **settings)
    grey = np.full((3, 8, 8, 3), 128, dtype=np.uint8)
    with pytest.raises(NonFiniteActivation, match="image of image 0 is not finite"):
        denoiser.renoise(grey, conditioning_of(denoiser), generators(), strength=1.0, **settings)
    assert n_hooks(pipe) == 0


def test_latents_that_are_not_square_have_the_shape_of_the_pipeline():
    parts = build_toy_pipe().components
    parts["unet"].register_to_config(sample_size=[4, 8])
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    denoiser = open_denoiser(pipe)
    assert denoiser.latent_shape == (4, 4, 8)
    assert denoiser.image_size == (8, 16)
    for images in (
        sample_prompts(denoiser, num_inference_steps=1),
        denoiser.sample(conditioning_of(denoiser), generators(), batch_size=3, **QUICK),
    ):
        assert images.shape == (3, 8, 16, 3)


def counted(denoiser, run) -> int:
    """Evaluations that the denoiser counts, which are those that its UNet sees."""
    before = denoiser.evaluations
    with counted_latents() as count:
        run()
    assert denoiser.evaluations - before == count.n_latents
    return count.n_latents


@pytest.mark.parametrize(("num_inference_steps", "guidance_scale"), each_with_one([2, 5, 10], [3.0, 1.0]))
def test_sampling_costs_what_is_stated(scheduled, num_inference_steps, guidance_scale):
    settings = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
    stated = len(PROMPTS) * scheduled.evaluations_per_image(**settings)
    assert counted(scheduled, lambda: sample_prompts(scheduled, **settings)) == stated
    conditioning = conditioning_of(scheduled)
    assert counted(scheduled, lambda: scheduled.sample(conditioning, generators(), batch_size=2, **settings)) == stated


@pytest.mark.parametrize(("strength", "num_inference_steps"), each_with_one([0.25, 0.6, 0.99, 1.0], [5, 10]))
def test_noising_again_costs_what_is_stated(scheduled, num_inference_steps, strength):
    settings = {"num_inference_steps": num_inference_steps, "strength": strength}
    images, conditioning = np.full((3, 8, 8, 3), 128, dtype=np.uint8), conditioning_of(scheduled)
    stated = len(PROMPTS) * scheduled.evaluations_per_renoising(**settings)
    assert (
        counted(scheduled, lambda: scheduled.renoise(images, conditioning, generators(), batch_size=2, **settings))
        == stated
    )


@pytest.mark.parametrize("name", SCHEDULERS)
def test_ten_steps_are_as_many_calls_as_the_scheduler_makes_of_them(name):
    pipe = build_light_pipe()
    scheduler_class, options = SCHEDULERS[name]
    pipe.scheduler = scheduler_class.from_config(pipe.scheduler.config, **options)
    denoiser = open_denoiser(pipe)
    with counted_latents() as count:
        assert len(denoiser.timesteps(10)) == CALLS_OF_TEN_STEPS[name]
        assert denoiser.evaluations_per_image(10, guidance_scale=1.0) == CALLS_OF_TEN_STEPS[name]
        assert denoiser.evaluations_per_image(10, guidance_scale=1.5) == 2 * CALLS_OF_TEN_STEPS[name]
    assert count.n_latents == 0  # planning evaluates nothing


def test_planned_timesteps_are_those_of_the_calls(scheduled):
    seen: list[float] = []

    def keep(_module, args, keywords):
        seen.append(float(keywords.get("timestep", args[1] if len(args) > 1 else None)))

    handle = scheduled.pipe.unet.register_forward_pre_hook(keep, with_kwargs=True)
    sample_prompts(scheduled, num_inference_steps=5)
    handle.remove()
    assert scheduled.timesteps(5) == tuple(seen)


def test_planning_neither_draws_global_noise_nor_leaves_a_hook(denoiser):
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    open_denoiser(denoiser.pipe).timesteps(3)
    denoiser.first_call(PROMPTS, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert n_hooks(denoiser.pipe) == 0
