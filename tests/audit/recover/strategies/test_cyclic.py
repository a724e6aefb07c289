"""Samples are noised and denoised again and again, each on its own."""

import numpy as np
import pytest

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.ladder import LadderPrompt, Target
from flashbulb.audit.recover.strategies.cyclic import Cyclic, CyclicPlan, cycle
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from tests.audit.counting import counted_latents
from tests.tolerances import IMAGE_LEVELS

PLAN = CyclicPlan(run_seed=0, n_cycles=2, strength=0.6, num_inference_steps=4, batch_size=3)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 2, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def drift(toy_pipe):
    denoiser = open_denoiser(toy_pipe)
    conditioning = denoiser.encode(["a red star", "жар-птица"]).conditioning.kept()

    def of(rows=slice(None), plan=PLAN):
        return cycle(denoiser, list(IMAGES[rows]), conditioning.rows(rows), ["a", "b"][rows], plan)

    return of


def test_images_drift_and_cost_what_the_plan_says(drift, toy_pipe):
    with counted_latents() as count:
        drifted = drift()
    assert count.n_latents == 2 * PLAN.evaluations(open_denoiser(toy_pipe), n_samples=2)
    assert np.shape(drifted) == IMAGES.shape
    assert drifted[0].dtype == np.uint8
    assert np.abs(np.stack(drifted).astype(int) - IMAGES).max() > 20
    once = drift(plan=CyclicPlan(0, 1, 0.6, 4, 3))
    assert np.abs(np.stack(drifted).astype(int) - np.stack(once)).max() > IMAGE_LEVELS


def test_a_prompt_does_not_depend_on_the_others(drift):
    together, again, (alone,) = drift(), drift(), drift(slice(1, 2))
    np.testing.assert_array_equal(again, together)
    assert np.abs(alone.astype(int) - together[1]).max() <= IMAGE_LEVELS


def test_each_prompt_sample_and_turn_has_noise_of_its_own(toy_pipe):
    denoiser, same = open_denoiser(toy_pipe), np.repeat(IMAGES[:1, :1], 2, axis=1)
    conditioning = denoiser.encode(["a red star"] * 2).conditioning.kept()
    once = CyclicPlan(0, 1, 0.6, 4, 4)
    drifted = np.concatenate(cycle(denoiser, [same[0]] * 2, conditioning, ["a", "b"], once))
    for i, image in enumerate(drifted):
        assert all(np.abs(image.astype(int) - other).max() > IMAGE_LEVELS for other in drifted[:i])


def test_the_pipeline_is_left_as_it_was(drift, toy_pipe):
    parts = dict(toy_pipe.components)
    drift()
    assert all(toy_pipe.components[name] is part for name, part in parts.items())


def test_a_prompt_with_more_seeds_drifts_from_as_many_samples_as_the_others(toy_pipe):
    denoiser = open_denoiser(toy_pipe)
    strategy = Cyclic(denoiser, Verifier(denoiser, VerifyPlan(0, 2, 2, 4)), PLAN, 2)
    more = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)

    def drifted(second):
        pairs = [("a red star", IMAGES[0]), ("a blue cat", second)]
        prompts = [LadderPrompt(text, Target(text, (), ()), sampled, lambda: None) for text, sampled in pairs]
        return [attempt.images for attempt in strategy.try_(prompts, 0)]

    np.testing.assert_array_equal(drifted(np.concatenate([IMAGES[1], more])), drifted(IMAGES[1]))
