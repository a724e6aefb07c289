"""NeMo's localization counts what it costs, keeps a subset of what it selected, and finds nothing in clean captions."""

import dataclasses
from itertools import combinations, pairwise

import pytest
import torch

from flashbulb.audit.detectors.one_step_agreement import multi_scale_ssim
from flashbulb.audit.model.families import open_denoiser
from tests.audit.counting import counted_latents
from tests.bench.localize import nemo
from tests.bench.localize.nemo import N_SEEDS, find_nemo_neurons, fit_statistics
from tests.cases import slow_unless_in
from tests.tolerances import BATCH
from tests.toy import build_toy_pipe

REFERENCE = ["a red chair", "two boats", "an old map of a city", "fog", "the third of nine cats", "blue tiles"]
CAPTION = "a lamp by the door"


@pytest.fixture(scope="module")
def denoiser():
    """Its neurons move the noise so much that deactivating some shows in the score."""
    pipe = build_toy_pipe()
    opened = open_denoiser(pipe)
    with torch.no_grad():
        for module in opened.modules(opened.sites(["cross_v"])).values():
            module.weight.mul_(20)
    return opened


@pytest.fixture(scope="module")
def statistics(denoiser):
    return fit_statistics(denoiser, REFERENCE, REFERENCE[:3], 0)


@pytest.fixture(scope="module", params=slow_unless_in(["seeds"], ["seeds", "unedited"]))
def localized(request, denoiser, statistics):
    """A result, and the latents that the UNet saw for it, of a caption a little above the threshold."""
    conditioning = denoiser.encode([CAPTION]).conditioning
    with torch.no_grad():
        differences = nemo._differences(denoiser, conditioning, statistics.latents, statistics.timestep)
    score = float(nemo._to_nearest_seed(differences).max())
    memorized = dataclasses.replace(statistics, threshold=score - 0.01)
    with counted_latents() as count:
        result = find_nemo_neurons(denoiser, CAPTION, memorized, request.param)
    return result, count.n_latents


def test_the_threshold_costs_one_evaluation_a_seed_and_caption(denoiser):
    with counted_latents() as count:
        statistics = fit_statistics(denoiser, REFERENCE, REFERENCE[:2], 0)
    assert statistics.evaluations == count.n_latents == 2 * N_SEEDS


def test_counted_evaluations_are_the_latents_that_the_unet_sees(localized):
    result, n_latents = localized
    assert result.evaluations == n_latents > N_SEEDS


def test_refinement_keeps_a_subset_of_the_initial_selection(localized):
    result, _ = localized
    assert result.initial.n_neurons > 0
    for name, numbers in result.neurons.neurons.items():
        assert set(numbers) <= set(result.initial.neurons[name])


def test_a_caption_below_the_threshold_needs_no_neurons(denoiser, statistics):
    clean = dataclasses.replace(statistics, threshold=1.0)
    result = find_nemo_neurons(denoiser, CAPTION, clean, "seeds")
    assert result.neurons.n_neurons == result.initial.n_neurons == 0
    assert result.evaluations == N_SEEDS


def test_unusual_neurons_grow_as_the_threshold_falls(denoiser, statistics):
    activations = nemo.mean_to_v(denoiser, statistics.sites, denoiser.encode([CAPTION]).conditioning)
    rounds = [set(nemo._unusual(activations, statistics, 5 - k / 4, k)) for k in range(17)]
    assert all(fewer <= more for fewer, more in pairwise(rounds))
    assert len(rounds[-1]) > len(rounds[0])


def test_the_nearest_seed_is_the_most_similar_other_one():
    images = torch.rand(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    images[2] = images[0]
    pairs = list(combinations(range(4), 2))
    first, second = (list(side) for side in zip(*pairs, strict=True))
    similarity = multi_scale_ssim(images[first], images[second]).tolist()  # pairs of a caption share their data range
    oracle = [max(s for s, pair in zip(similarity, pairs, strict=True) if i in pair) for i in range(4)]
    torch.testing.assert_close(nemo._to_nearest_seed(images), torch.tensor(oracle), rtol=0, atol=BATCH)


def test_sites_come_in_the_order_in_which_they_run(statistics):
    parts = [site.module_path.split("_")[0] for site in statistics.sites]
    assert parts == sorted(parts, key=["down", "mid", "up"].index)
