"""Localized neurons top the ranking and are tested with seeds that did not select them, at the stated cost."""

from dataclasses import replace

import numpy as np
import pytest

from flashbulb.audit.localize.effects import measure_effect, sample_edited
from flashbulb.audit.localize.selection import rank_neurons
from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import ablate, find_sites
from tests.audit.counting import counted_latents
from tests.audit.localize.memory_examples import (
    ATTRIBUTION,
    CLEAN,
    NO_EVIDENCE,
    PLAN,
    PROMPT,
    SAMPLING,
    build_localizer,
    memory_of,
    memory_of_a_sample,
)
from tests.hooks.edits import n_hooks

QUICK = replace(PLAN, n_checks=0, recovery=None, n_controls=0)


@pytest.fixture(scope="module")
def denoiser(toy_pipe):
    return open_denoiser(toy_pipe)


@pytest.mark.parametrize(("kind", "share"), [("text_mlp", 1e-9), ("cross_v", 0.2), ("feed_forward", 1.0)])
def test_localized_neurons_are_those_of_the_highest_attribution(denoiser, kind, share):
    localized = build_localizer(denoiser, replace(QUICK, share=share), kind, clean=()).localize(memory_of(NO_EVIDENCE))
    sites = find_sites(denoiser.pipe, [kind])
    ranked = rank_neurons(localized.attribution.neurons, sites)
    n = max(1, round(share * sum(site.n_neurons for site in sites)))
    assert {(name, i) for name, numbers in localized.neurons.neurons.items() for i in numbers} == {
        (entry.site, entry.neuron) for entry in ranked[:n]
    }
    assert (localized.neurons.means, localized.neurons.fingerprint) == (None, "fingerprint")
    assert len(localized.attribution.neurons) > len(sites)


@pytest.mark.parametrize("by", ["unconditional", "mean", "zero"])
def test_results_are_those_of_ablating_the_localized_neurons(denoiser, by):
    memory = memory_of_a_sample(denoiser)
    localized = build_localizer(denoiser, replace(QUICK, by=by, share=1.0), clean=()).localize(memory)
    before = sample_edited(denoiser, PROMPT, SAMPLING)
    after = sample_edited(denoiser, PROMPT, SAMPLING, ablate(denoiser.pipe, localized.neurons, by))
    assert np.array_equal(localized.before, before.images)
    assert np.array_equal(localized.after, after.images)
    assert localized.effect == measure_effect(memory.image, before, after)
    assert (localized.controls, localized.n_patched, localized.n_recovered_again) == ((), None, None)
    assert (localized.neurons.means is not None) == (by == "mean")


def test_evaluations_are_the_unets_forward_passes_and_two_for_each_backward_pass(denoiser):
    localizer, memory = build_localizer(denoiser), memory_of_a_sample(denoiser)
    with counted_latents() as first:
        localizer.localize(memory)
    with counted_latents() as count:
        localized = localizer.localize(memory)
    backward = 2 * (ATTRIBUTION.n_seeds * ATTRIBUTION.n_points + PLAN.recovery.n_steps)
    sampling = SAMPLING.evaluations(denoiser)
    assert localized.evaluations == count.n_latents + backward
    assert first.n_latents - count.n_latents == PLAN.n_controls * sampling  # clean prompts are sampled once for all
    n_samplings = 2 + PLAN.n_checks + PLAN.n_controls + 1
    assert localized.evaluations <= (
        ATTRIBUTION.evaluations + n_samplings * sampling + PLAN.recovery.evaluations(denoiser)
    )
    assert n_hooks(denoiser.pipe) == 0


def test_neurons_are_selected_and_tested_with_different_seeds():
    selecting, testing = PLAN.selection_sampling, PLAN.sampling
    seeds = [set(range(plan.first_index, plan.first_index + plan.n_samples)) for plan in (selecting, testing)]
    assert not seeds[0] & seeds[1]
    assert all(seed >= 0 for seed in seeds[0])
    assert replace(selecting, first_index=testing.first_index) == testing


@pytest.mark.parametrize("n_checks", [1, 9])
def test_bisection_selects_a_subset(denoiser, n_checks):
    memory = memory_of_a_sample(denoiser)
    plans = [replace(QUICK, n_checks=n) for n in (0, n_checks)]
    all_neurons, fewer = (build_localizer(denoiser, plan, clean=()).localize(memory).neurons for plan in plans)
    assert 1 <= fewer.n_neurons <= all_neurons.n_neurons
    for name, numbers in fewer.neurons.items():
        assert set(numbers) <= set(all_neurons.neurons[name])


@pytest.mark.parametrize("n_controls", [0, 1, 2])
def test_controls_are_clean_prompts_chosen_by_the_memory(denoiser, n_controls):
    localizer = build_localizer(denoiser, replace(QUICK, n_controls=n_controls))
    tried = []
    for prompt_id in ("00000000000000a1", "00000000000000a2"):
        localized = localizer.localize(memory_of(NO_EVIDENCE, prompt_id))
        prompts = [control.prompt for control in localized.controls]
        assert len(set(prompts)) == len(prompts) == n_controls
        assert set(prompts) <= set(CLEAN)
        assert (localized.n_patched is None) == (n_controls == 0)
        tried.append(prompts)
    assert n_controls == 0 or tried[0] != tried[1]


def test_no_clean_prompt_is_counted_twice(denoiser):
    localizer = build_localizer(denoiser, replace(QUICK, n_controls=5), clean=CLEAN[:2])
    localized = localizer.localize(memory_of(NO_EVIDENCE))
    assert sorted(control.prompt for control in localized.controls) == sorted(CLEAN[:2])
