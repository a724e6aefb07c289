"""Effects are measured on what the pipeline itself gives: before, after, elsewhere, and at their cost."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.denoiser import Denoiser
from audit.evidence import REPLICATION_DISTANCE, seed_diversity, tile_distances
from audit.localize.effects import (
    ERASED_SHARE,
    ControlEffect,
    Effect,
    Sampled,
    SamplingPlan,
    effect_on_memory,
    effects_on_controls,
    is_erased,
    n_patched,
    n_replicating,
    sample_edited,
    sample_recorded,
)
from audit.sampling import sample_generator, sample_pictures
from hooks import NeuronSet, ablate, find_sites, patch
from tests.audit.counting import counted_latents
from tests.hooks.edits import n_hooks, some_neurons
from tests.tolerances import ARITHMETIC, PICTURE_LEVELS
from tests.toy import build_toy_pipe

PROMPT, CLEAN = "zzqx !!!! @@@@ ####", "a red star"
PLAN = SamplingPlan(run_seed=1, n_samples=3, num_inference_steps=2, guidance_scale=3.0, first_index=3)


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def denoiser(request):
    return Denoiser(build_toy_pipe(prediction_type=request.param))


@pytest.fixture(scope="module")
def before(denoiser):
    return sample_edited(denoiser, PROMPT, PLAN)


def noise_pictures(n, seed=0, size=16):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def levels_apart(one, other):
    return np.abs(one.astype(int) - other.astype(int)).max()


def test_samples_are_those_of_the_pipeline_with_their_own_seeds(denoiser, before):
    expected = sample_pictures(
        denoiser.pipe, [PROMPT] * 3, [3, 4, 5], run_seed=1, num_inference_steps=2, guidance_scale=3.0
    )
    assert np.array_equal(before.pictures, expected)


def test_the_response_is_the_norm_of_the_conditional_output_at_x_t(denoiser, before):
    pipe, norms = denoiser.pipe, []
    timestep = denoiser.first_timestep(PLAN.num_inference_steps)
    with torch.no_grad():
        for index in range(3, 6):
            latents = torch.randn(1, 4, 8, 8, generator=sample_generator(1, PROMPT, index))
            with_text, without = (
                pipe.unet(latents, timestep, encoder_hidden_states=pipe.encode_prompt(text, "cpu", 1, False)[0]).sample
                for text in (PROMPT, "")
            )
            norms.append(float((with_text - without).square().sum().sqrt()))
    assert before.response == pytest.approx(sum(norms) / 3, rel=1e-4)


@pytest.mark.parametrize("by", ["unconditional", "mean", "zero"])
def test_ablating_nothing_changes_nothing(denoiser, before, by):
    name = find_sites(denoiser.pipe, ["cross_v"])[0].name
    for nothing in (NeuronSet({}, {}), NeuronSet({name: ()}, {name: ()})):
        after = sample_edited(denoiser, PROMPT, PLAN, ablate(denoiser.pipe, nothing, by))
        assert np.array_equal(after.pictures, before.pictures)
        effect = effect_on_memory(before.pictures[0], before, after)
        assert effect.response == 1
        assert effect.n_replicating[0] == effect.n_replicating[1]
        assert effect.distance[0] == effect.distance[1]
        (control,) = effects_on_controls(denoiser, [(PROMPT, before)], nothing, by, PLAN)
        assert control == ControlEffect(PROMPT, 0.0, before.diversity)
        assert not control.is_changed


def test_ablating_all_values_by_the_unconditional_ones_takes_the_response_away(denoiser, before):
    neurons = some_neurons(denoiser.pipe, ["cross_k", "cross_v"], share=1)
    after = sample_edited(denoiser, PROMPT, PLAN, ablate(denoiser.pipe, neurons, "unconditional"))
    assert effect_on_memory(before.pictures[0], before, after).response < 1e-4


def test_evaluations_are_what_the_unet_saw(denoiser):
    spent = denoiser.evaluations
    with counted_latents() as count:
        sample_edited(denoiser, PROMPT, PLAN)
    assert count.n_latents == denoiser.evaluations - spent == PLAN.evaluations == 2 * 3 * 2


def test_recording_changes_nothing_and_its_own_recording_gives_its_own_pictures(denoiser, before):
    neurons = some_neurons(denoiser.pipe, share=5)
    recorded, recording = sample_recorded(denoiser, PROMPT, PLAN, neurons)
    assert np.array_equal(recorded.pictures, before.pictures)
    assert recorded.response == before.response
    played = sample_edited(denoiser, PROMPT, PLAN, patch(denoiser.pipe, recording))
    assert levels_apart(played.pictures, before.pictures) <= PICTURE_LEVELS
    assert played.response == pytest.approx(before.response, rel=ARITHMETIC)
    for memory in (before.pictures[1], noise_pictures(1)[0]):
        patched = n_patched(denoiser, PROMPT, recording, memory, PLAN)
        assert patched == n_replicating(before.pictures, memory)
    assert n_hooks(denoiser.pipe) == 0


def test_all_text_values_put_into_a_clean_prompt_bring_the_other_prompts_response(denoiser, before):
    neurons = some_neurons(denoiser.pipe, ["cross_k", "cross_v"], share=1)
    _, recording = sample_recorded(denoiser, PROMPT, PLAN, neurons)
    carried = sample_edited(denoiser, CLEAN, PLAN, patch(denoiser.pipe, recording))
    latents = [sample_generator(1, CLEAN, index) for index in range(3, 6)]
    expected = denoiser.pipe(
        [PROMPT] * 3, generator=latents, num_inference_steps=2, guidance_scale=3.0, output_type="np"
    )
    assert levels_apart(carried.pictures, (expected.images * 255).round()) <= PICTURE_LEVELS
    memory = carried.pictures[0]
    assert n_patched(denoiser, CLEAN, recording, memory, PLAN) == n_replicating(carried.pictures, memory) >= 1


def test_an_edit_that_fails_leaves_no_hooks(denoiser):
    neurons = some_neurons(denoiser.pipe)
    with counted_latents(stop_after=6), pytest.raises(KeyboardInterrupt):
        sample_edited(denoiser, PROMPT, PLAN, ablate(denoiser.pipe, neurons, "zero"))
    assert n_hooks(denoiser.pipe) == 0


def test_controls_are_compared_seed_by_seed(denoiser):
    neurons = some_neurons(denoiser.pipe, share=1)
    clean = [(prompt, sample_edited(denoiser, prompt, PLAN)) for prompt in (CLEAN, "a blue sea")]
    effects = effects_on_controls(denoiser, clean, neurons, "zero", PLAN)
    assert [effect.prompt for effect in effects] == [CLEAN, "a blue sea"]
    for effect, (prompt, unedited) in zip(effects, clean, strict=True):
        with ablate(denoiser.pipe, neurons, "zero"):
            edited = sample_pictures(
                denoiser.pipe, [prompt] * 3, [3, 4, 5], run_seed=1, num_inference_steps=2, guidance_scale=3.0
            )
        distances = [tile_distances(edited[i : i + 1], unedited.pictures[i])[0] for i in range(3)]
        assert effect.change == pytest.approx(sum(distances) / 3)
        assert effect.change > 0
        assert effect.diversity == unedited.diversity


@pytest.mark.parametrize("n_samples", range(1, 17))
def test_a_memory_is_erased_when_three_quarters_no_longer_show_it(n_samples):
    for n in range(n_samples + 1):
        assert is_erased(n, n_samples) == (4 * (n_samples - n) >= 3 * n_samples)
    assert ERASED_SHARE == 0.75


@pytest.mark.parametrize(("after", "erased"), [(0, True), (1, True), (2, False), (4, False)])
def test_what_counts_is_what_shows_it_afterwards(after, erased):
    assert Effect(4, (4, after), (0.1, 0.5), (0.3, 0.3), 0.2).is_erased == erased


def test_a_memory_that_no_sample_showed_cannot_be_erased():
    assert not Effect(4, (0, 0), (0.5, 0.5), (0.3, 0.3), 0.2).is_erased


@pytest.mark.parametrize(("change", "changed"), [(0.0, False), (0.3, False), (0.3001, True)])
def test_a_control_is_changed_when_it_moves_further_than_another_seed_does(change, changed):
    assert ControlEffect("a", change, 0.3).is_changed == changed


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_diversity_is_the_median_over_all_pairs(n):
    pictures = noise_pictures(n)
    pairs = [tile_distances(pictures[i : i + 1], pictures[j])[0] for i, j in itertools.combinations(range(n), 2)]
    assert Sampled(pictures, 1.0).diversity == pytest.approx(float(np.median(pairs)))
    assert Sampled(np.repeat(pictures[:1], n, axis=0), 1.0).diversity == 0


def test_effects_are_counts_and_medians_of_either_sample():
    memory = noise_pictures(1)[0]
    near = np.clip(memory.astype(int) + 5, 0, 255).astype(np.uint8)
    first, second = noise_pictures(4, seed=1), noise_pictures(4, seed=2)
    first[:3] = memory
    second[1] = near
    effect = effect_on_memory(memory, Sampled(first, 8.0), Sampled(second, 2.0))
    assert (effect.n_samples, effect.n_replicating, effect.response) == (4, (3, 1), 0.25)
    for pictures, median in zip((first, second), effect.distance, strict=True):
        assert median == float(np.median(tile_distances(pictures, memory)))
    assert effect.diversity == (seed_diversity(first), seed_diversity(second))
    assert effect.is_erased
    assert n_replicating(first, memory) == sum(float(d) <= REPLICATION_DISTANCE for d in tile_distances(first, memory))


def test_a_prompt_without_a_response_has_no_infinite_share():
    pictures = noise_pictures(2)
    effect = effect_on_memory(pictures[0], Sampled(pictures, 0.0), Sampled(pictures, 0.0))
    assert effect.response == 0


def test_other_seeds_give_other_samples(denoiser, before):
    other = sample_edited(denoiser, PROMPT, replace(PLAN, first_index=0))
    assert levels_apart(other.pictures, before.pictures) > PICTURE_LEVELS
