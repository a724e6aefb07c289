"""Effects are measured on the pipeline's own samples, before and after, on clean prompts, and at the stated cost."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from flashbulb.audit.images.distances import seed_diversity, tile_distances
from flashbulb.audit.localize.effects import (
    ERASED_SHARE,
    ControlEffect,
    Effect,
    EffectPlan,
    Samples,
    count_patched,
    count_replicating,
    is_erased,
    measure_control_effects,
    measure_effect,
    sample_and_record,
    sample_edited,
)
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.sampling import sample_generator, sample_images
from flashbulb.hooks import NeuronSet, ablate, find_sites, patch
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE
from tests.audit.counting import counted_latents
from tests.hooks.edits import n_hooks, some_neurons
from tests.tolerances import ARITHMETIC, IMAGE_LEVELS
from tests.toy import build_toy_pipe

PROMPT, CLEAN = "zzqx !!!! @@@@ ####", "a red star"
PLAN = EffectPlan(run_seed=1, n_samples=3, num_inference_steps=2, guidance_scale=3.0, first_index=3)


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def denoiser(request):
    return open_denoiser(build_toy_pipe(prediction_type=request.param))


@pytest.fixture(scope="module")
def before(denoiser):
    return sample_edited(denoiser, PROMPT, PLAN)


def noise_images(n, seed=0, size=16):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def levels_apart(images, others):
    return np.abs(images.astype(int) - others.astype(int)).max()


def test_samples_equal_those_of_the_pipeline_with_the_same_seeds(denoiser, before):
    expected = sample_images(
        denoiser.pipe, [PROMPT] * 3, [3, 4, 5], run_seed=1, num_inference_steps=2, guidance_scale=3.0
    )
    assert np.array_equal(before.images, expected)


def test_the_response_is_the_norm_between_conditional_and_unconditional_output_at_x_t(denoiser, before):
    pipe, norms = denoiser.pipe, []
    timestep = denoiser.first_timestep(PLAN.num_inference_steps)
    with torch.no_grad():
        for index in range(3, 6):
            latents = torch.randn(1, 4, 8, 8, generator=sample_generator(1, PROMPT, index))
            conditional, unconditional = (
                pipe.unet(latents, timestep, encoder_hidden_states=pipe.encode_prompt(text, "cpu", 1, False)[0]).sample
                for text in (PROMPT, "")
            )
            norms.append(float((conditional - unconditional).square().sum().sqrt()))
    assert before.response == pytest.approx(sum(norms) / 3, rel=1e-4)


@pytest.mark.parametrize("by", ["unconditional", "mean", "zero"])
def test_ablating_no_neurons_changes_nothing(denoiser, before, by):
    name = find_sites(denoiser.pipe, ["cross_v"])[0].name
    for no_neurons in (NeuronSet({}, {}), NeuronSet({name: ()}, {name: ()})):
        after = sample_edited(denoiser, PROMPT, PLAN, ablate(denoiser.pipe, no_neurons, by))
        assert np.array_equal(after.images, before.images)
        effect = measure_effect(before.images[0], before, after)
        assert effect.response == 1
        assert effect.n_replicating[0] == effect.n_replicating[1]
        assert effect.distance[0] == effect.distance[1]
        (control,) = measure_control_effects(denoiser, [(PROMPT, before)], no_neurons, by, PLAN)
        assert control == ControlEffect(PROMPT, 0.0, before.diversity)
        assert not control.is_changed


def test_ablating_all_keys_and_values_removes_the_response(denoiser, before):
    neurons = some_neurons(denoiser.pipe, ["cross_k", "cross_v"], share=1)
    after = sample_edited(denoiser, PROMPT, PLAN, ablate(denoiser.pipe, neurons, "unconditional"))
    assert measure_effect(before.images[0], before, after).response < 1e-4


def test_evaluations_equal_the_latents_that_the_unet_evaluated(denoiser):
    spent = denoiser.evaluations
    with counted_latents() as count:
        sample_edited(denoiser, PROMPT, PLAN)
    assert count.n_latents == denoiser.evaluations - spent == PLAN.evaluations(denoiser) == 2 * 3 * 2


def test_recording_changes_nothing_and_patching_it_back_gives_the_same_images(denoiser, before):
    neurons = some_neurons(denoiser.pipe, share=5)
    recorded, recording = sample_and_record(denoiser, PROMPT, PLAN, neurons)
    assert np.array_equal(recorded.images, before.images)
    assert recorded.response == before.response
    patched = sample_edited(denoiser, PROMPT, PLAN, patch(denoiser.pipe, recording))
    assert levels_apart(patched.images, before.images) <= IMAGE_LEVELS
    assert patched.response == pytest.approx(before.response, rel=ARITHMETIC)
    for memory in (before.images[1], noise_images(1)[0]):
        n_patched = count_patched(denoiser, PROMPT, recording, memory, PLAN)
        assert n_patched == count_replicating(before.images, memory)
    assert n_hooks(denoiser.pipe) == 0


def test_patching_all_keys_and_values_gives_the_other_prompts_images(denoiser, before):
    neurons = some_neurons(denoiser.pipe, ["cross_k", "cross_v"], share=1)
    _, recording = sample_and_record(denoiser, PROMPT, PLAN, neurons)
    patched = sample_edited(denoiser, CLEAN, PLAN, patch(denoiser.pipe, recording))
    latents = [sample_generator(1, CLEAN, index) for index in range(3, 6)]
    expected = denoiser.pipe(
        [PROMPT] * 3, generator=latents, num_inference_steps=2, guidance_scale=3.0, output_type="np"
    )
    assert levels_apart(patched.images, (expected.images * 255).round()) <= IMAGE_LEVELS
    memory = patched.images[0]
    assert count_patched(denoiser, CLEAN, recording, memory, PLAN) == count_replicating(patched.images, memory) >= 1


def test_an_interrupted_edit_leaves_no_hooks(denoiser):
    neurons = some_neurons(denoiser.pipe)
    with counted_latents(stop_after=6), pytest.raises(KeyboardInterrupt):
        sample_edited(denoiser, PROMPT, PLAN, ablate(denoiser.pipe, neurons, "zero"))
    assert n_hooks(denoiser.pipe) == 0


def test_controls_are_compared_seed_by_seed(denoiser):
    neurons = some_neurons(denoiser.pipe, share=1)
    clean = [(prompt, sample_edited(denoiser, prompt, PLAN)) for prompt in (CLEAN, "a blue sea")]
    effects = measure_control_effects(denoiser, clean, neurons, "zero", PLAN)
    assert [effect.prompt for effect in effects] == [CLEAN, "a blue sea"]
    for effect, (prompt, unedited) in zip(effects, clean, strict=True):
        with ablate(denoiser.pipe, neurons, "zero"):
            edited = sample_images(
                denoiser.pipe, [prompt] * 3, [3, 4, 5], run_seed=1, num_inference_steps=2, guidance_scale=3.0
            )
        distances = [tile_distances(edited[i : i + 1], unedited.images[i])[0] for i in range(3)]
        assert effect.change == pytest.approx(sum(distances) / 3)
        assert effect.change > 0
        assert effect.diversity == unedited.diversity


@pytest.mark.parametrize("n_samples", range(1, 17))
def test_a_memory_is_erased_if_three_quarters_of_the_samples_no_longer_replicate_it(n_samples):
    for n in range(n_samples + 1):
        assert is_erased(n, n_samples) == (4 * (n_samples - n) >= 3 * n_samples)
    assert ERASED_SHARE == 0.75


@pytest.mark.parametrize(("after", "erased"), [(0, True), (1, True), (2, False), (4, False)])
def test_erasure_depends_on_the_samples_that_replicate_it_after(after, erased):
    assert Effect(4, (4, after), (0.1, 0.5), (0.3, 0.3), 0.2).is_erased == erased


def test_a_memory_that_no_sample_replicated_before_is_not_erased():
    assert not Effect(4, (0, 0), (0.5, 0.5), (0.3, 0.3), 0.2).is_erased


@pytest.mark.parametrize(("change", "changed"), [(0.0, False), (0.3, False), (0.3001, True)])
def test_a_control_is_changed_if_its_change_exceeds_its_seed_diversity(change, changed):
    assert ControlEffect("a", change, 0.3).is_changed == changed


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_diversity_is_the_median_over_all_pairs(n):
    images = noise_images(n)
    pairs = [tile_distances(images[i : i + 1], images[j])[0] for i, j in itertools.combinations(range(n), 2)]
    assert Samples(images, 1.0).diversity == pytest.approx(float(np.median(pairs)))
    assert Samples(np.repeat(images[:1], n, axis=0), 1.0).diversity == 0


def test_effects_are_counts_and_medians_before_and_after():
    memory = noise_images(1)[0]
    near = np.clip(memory.astype(int) + 5, 0, 255).astype(np.uint8)
    first, second = noise_images(4, seed=1), noise_images(4, seed=2)
    first[:3] = memory
    second[1] = near
    effect = measure_effect(memory, Samples(first, 8.0), Samples(second, 2.0))
    assert (effect.n_samples, effect.n_replicating, effect.response) == (4, (3, 1), 0.25)
    for images, median in zip((first, second), effect.distance, strict=True):
        assert median == float(np.median(tile_distances(images, memory)))
    assert effect.diversity == (seed_diversity(first), seed_diversity(second))
    assert effect.is_erased
    assert count_replicating(first, memory) == sum(
        float(d) <= REPLICATION_DISTANCE for d in tile_distances(first, memory)
    )


def test_a_zero_response_before_gives_a_finite_share():
    images = noise_images(2)
    effect = measure_effect(images[0], Samples(images, 0.0), Samples(images, 0.0))
    assert effect.response == 0


def test_other_seeds_give_other_samples(denoiser, before):
    other = sample_edited(denoiser, PROMPT, replace(PLAN, first_index=0))
    assert levels_apart(other.images, before.images) > IMAGE_LEVELS
