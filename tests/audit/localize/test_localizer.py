"""A memory's levers are the best of the ranking, tested with seeds that did not choose them, at the stated cost."""

from dataclasses import replace

import numpy as np
import pytest

from audit.denoiser import Denoiser
from audit.localize.again import evaluations_again
from audit.localize.effects import effect_on_memory, sample_edited
from audit.localize.levers import rank_neurons
from hooks import ablate, find_sites
from tests.audit.counting import counted_latents
from tests.audit.localize.memories import (
    ATTRIBUTION,
    CLEAN,
    NO_EVIDENCE,
    PLAN,
    PROMPT,
    SAMPLING,
    localizer_of,
    memory_of,
    memory_of_a_sample,
)
from tests.hooks.edits import n_hooks

QUICK = replace(PLAN, n_checks=0, pull=None, n_controls=0)


@pytest.fixture(scope="module")
def denoiser(toy_pipe):
    return Denoiser(toy_pipe)


@pytest.mark.parametrize(("kind", "share"), [("text_mlp", 1e-9), ("cross_v", 0.2), ("feed_forward", 1.0)])
def test_levers_are_the_neurons_of_the_highest_attribution(denoiser, kind, share):
    found = localizer_of(denoiser, replace(QUICK, share=share), kind, clean=()).localize(memory_of(NO_EVIDENCE))
    sites = find_sites(denoiser.pipe, [kind])
    ranked = rank_neurons(found.attribution.neurons, sites)
    n = max(1, round(share * sum(site.n_neurons for site in sites)))
    assert {(name, i) for name, numbers in found.neurons.neurons.items() for i in numbers} == {
        (one.site, one.neuron) for one in ranked[:n]
    }
    assert (found.neurons.means, found.neurons.fingerprint) == (None, "fingerprint")
    assert len(found.attribution.neurons) > len(sites)


@pytest.mark.parametrize("by", ["unconditional", "mean", "zero"])
def test_what_is_stated_is_what_ablating_the_levers_gives(denoiser, by):
    memory = memory_of_a_sample(denoiser)
    found = localizer_of(denoiser, replace(QUICK, by=by, share=1.0), clean=()).localize(memory)
    before = sample_edited(denoiser, PROMPT, SAMPLING)
    after = sample_edited(denoiser, PROMPT, SAMPLING, ablate(denoiser.pipe, found.neurons, by))
    assert np.array_equal(found.before, before.pictures)
    assert np.array_equal(found.after, after.pictures)
    assert found.effect == effect_on_memory(memory.picture, before, after)
    assert (found.controls, found.n_patched, found.n_recovered_again) == ((), None, None)
    assert (found.neurons.means is not None) == (by == "mean")


def test_evaluations_are_what_the_unet_saw_and_two_for_each_backward_pass(denoiser):
    localizer = localizer_of(denoiser)
    with counted_latents() as count:
        found = localizer.localize(memory_of_a_sample(denoiser))
    backward = 2 * (ATTRIBUTION.n_seeds * ATTRIBUTION.n_points + 2 * PLAN.pull.n_steps * PLAN.pull.batch_size)
    assert found.evaluations == count.n_latents - SAMPLING.evaluations + backward  # less the sampling of the memory
    n_samplings = 2 + PLAN.n_checks + PLAN.n_controls + 1
    most = ATTRIBUTION.evaluations + n_samplings * SAMPLING.evaluations + evaluations_again(PLAN.pull, SAMPLING)
    assert found.evaluations <= most
    assert n_hooks(denoiser.pipe) == 0


def test_levers_are_tested_with_other_seeds_than_they_were_chosen_with():
    chosen, tested = PLAN.choosing, PLAN.sampling
    seeds = [set(range(plan.first_index, plan.first_index + plan.n_samples)) for plan in (chosen, tested)]
    assert not seeds[0] & seeds[1]
    assert all(seed >= 0 for seed in seeds[0])
    assert replace(chosen, first_index=tested.first_index) == tested


@pytest.mark.parametrize("n_checks", [1, 9])
def test_more_checks_leave_no_more_levers(denoiser, n_checks):
    memory = memory_of_a_sample(denoiser)
    plans = [replace(QUICK, n_checks=n) for n in (0, n_checks)]
    all_of_them, fewer = (localizer_of(denoiser, plan, clean=()).localize(memory).neurons for plan in plans)
    assert 1 <= fewer.n_neurons <= all_of_them.n_neurons
    for name, numbers in fewer.neurons.items():
        assert set(numbers) <= set(all_of_them.neurons[name])


@pytest.mark.parametrize("n_controls", [0, 1, 2])
def test_controls_are_clean_prompts_that_depend_on_the_memory(denoiser, n_controls):
    localizer = localizer_of(denoiser, replace(QUICK, n_controls=n_controls))
    tried = []
    for prompt_id in ("00000000000000a1", "00000000000000a2"):
        found = localizer.localize(memory_of(NO_EVIDENCE, prompt_id))
        prompts = [control.prompt for control in found.controls]
        assert len(set(prompts)) == len(prompts) == n_controls
        assert set(prompts) <= set(CLEAN)
        assert (found.n_patched is None) == (n_controls == 0)
        tried.append(prompts)
    assert n_controls == 0 or tried[0] != tried[1]


def test_no_clean_prompt_is_counted_twice(denoiser):
    localizer = localizer_of(denoiser, replace(QUICK, n_controls=5), clean=CLEAN[:2])
    found = localizer.localize(memory_of(NO_EVIDENCE))
    assert sorted(control.prompt for control in found.controls) == sorted(CLEAN[:2])
