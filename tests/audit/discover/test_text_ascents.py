"""Text ascents climb without the denoiser, glance for a stated number of UE, and wait for closing looks."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

import flashbulb.audit.discover.text_ascents as text_ascents
from flashbulb.audit.ascent.climb import Climbed, climb
from flashbulb.audit.ascent.values import ValueScores, value_sites
from flashbulb.audit.discover.search import Search
from flashbulb.audit.discover.state import SearchState
from flashbulb.audit.discover.text_ascents import GLANCE_AT, TextAscents, denoised_at
from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, cross_distances
from flashbulb.audit.images.reduced import reduce_images
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.prediction import Prediction
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.stages.discover import search_plan
from flashbulb.hooks import NonFiniteActivation
from tests.audit.searches import (
    COST_OF_START,
    N_REFERENCE,
    WORDS,
    build_worded_pipe,
    evaluations_of,
    quick,
    toy_search,
)

COST_OF_GLANCE = 4 + 4


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    """A toy pipeline whose tokenizer knows words; leave it as it was."""
    return build_worded_pipe()


def ascents(pipe: StableDiffusionPipeline, **changes: Any) -> TextAscents:
    denoiser, plan = open_denoiser(pipe), search_plan(quick(**changes)).text
    reference = [f"{a} {b}" for a in WORDS for b in WORDS[:3]]
    return TextAscents(denoiser, ValueScores(denoiser, value_sites(denoiser), reference, 8), plan)


def test_ascents_cost_no_evaluation_and_glances_what_the_plan_says(
    pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    climbs: list[Climbed] = []
    monkeypatch.setattr(text_ascents, "climb", lambda *given: climbs.append(climb(*given)) or climbs[-1])
    with evaluations_of(pipe.unet) as spent:
        climber = ascents(pipe, steps=5, text_starts=1)
        assert spent == []
        images, familiarity = climber.glance(WORDS[:3], "key", 8)
    assert sum(spent) == 3 * search_plan(quick()).text.evaluations == 3 * COST_OF_GLANCE
    assert (images.shape[0], familiarity.shape) == (3, (3,))
    (climbed,) = climbs
    assert climbed.evaluations == 0
    assert (climbed.last > climbed.first).all()


def test_glances_do_not_depend_on_the_batch_but_on_the_key(pipe: StableDiffusionPipeline) -> None:
    climber = ascents(pipe)
    together, apart, other = (climber.glance(WORDS[:5], key, size) for key, size in (("a", 8), ("a", 2), ("b", 8)))
    np.testing.assert_allclose(together.familiarity, apart.familiarity, atol=1e-4)
    assert np.abs(together.images.astype(int) - apart.images).max() <= 1
    assert not np.array_equal(together.images, other.images)


def test_glance_at_a_denoiser_that_knows_its_image_shows_it(
    pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser = open_denoiser(pipe)
    empty = denoiser.unconditional(2)
    memory = 0.3 * torch.randn(2, *denoiser.latent_shape, generator=torch.Generator().manual_seed(1))
    levels: list[float] = []

    def predict(latents: torch.Tensor, timestep: float, _given: Conditioning) -> Prediction:
        signal_and_noise = denoiser._levels(timestep, latents)
        levels.append(float(signal_and_noise.noise))
        noise = (latents - signal_and_noise.signal * memory) / signal_and_noise.noise
        return Prediction(noise, latents, signal_and_noise, denoiser.prediction_type)

    monkeypatch.setattr(denoiser, "predict", predict)
    shown = denoised_at(denoiser, empty, [sample_generator(0, "a", i) for i in range(2)], GLANCE_AT)
    np.testing.assert_allclose(shown, denoiser.decode_latents(memory), atol=1)
    assert levels == sorted(levels, reverse=True)
    assert len(levels) == len(GLANCE_AT)


def test_latents_that_are_not_finite_are_refused(
    pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser = open_denoiser(pipe)
    monkeypatch.setattr(denoiser, "noised", lambda latents, *_: latents * float("nan"))
    with pytest.raises(NonFiniteActivation, match="latents of glances"):
        denoised_at(denoiser, denoiser.unconditional(1), [sample_generator(0, "a", 0)], GLANCE_AT)


def searched(search: Search, budget: int) -> SearchState:
    state = search.begin()
    for _ in search.rounds(state, budget):
        pass
    return state


def test_glances_are_paid_with_the_starts_and_the_budget_is_never_exceeded(pipe: StableDiffusionPipeline) -> None:
    cost = COST_OF_START + 3 * COST_OF_GLANCE
    for left in (0, cost - 1):
        with evaluations_of(pipe.unet) as spent:
            search = toy_search(pipe, {(0, 0): 60}, text_starts=3, patience=9)
            state = searched(search, N_REFERENCE + 3 * cost + left)
        assert state.n_starts >= 3
        assert state.spent["glance"] == 3 * state.n_starts * COST_OF_GLANCE
        assert sum(spent) == state.evaluations <= N_REFERENCE + 3 * cost + left


def test_search_without_text_starts_is_the_same_but_for_glances(pipe: StableDiffusionPipeline) -> None:
    states = [
        searched(toy_search(pipe, {(0, 0): 60, (1, 1): 200}, text_starts=n, n_candidates=2, patience=1), 5000)
        for n in (0, 2)
    ]
    bare, more = ([d for d in state.discoveries if d.familiarity is None] for state in states)
    assert [(d.round, d.start, d.outcome) for d in bare] == [(d.round, d.start, d.outcome) for d in more]
    assert "glance" in states[0].spent
    assert states[0].spent["glance"] == 0
    assert torch.equal(states[0].found, states[1].found)


def test_kept_glances_are_new_apart_and_the_most_familiar(pipe: StableDiffusionPipeline) -> None:
    state = searched(toy_search(pipe, {}, text_starts=4, n_candidates=3, patience=2), 5000)
    glances = [d for d in state.discoveries if d.familiarity is not None]
    assert glances
    for number in {d.round for d in glances}:
        kept = [d.familiarity for d in glances if d.round == number]
        assert len(kept) <= 3
        assert kept == sorted(kept, key=lambda familiarity: -(familiarity or 0.0))
    images = reduce_images([d.image for d in state.discoveries])
    for i, discovery in enumerate(state.discoveries):
        if discovery.familiarity is not None and i:
            assert cross_distances(images[i][None], images[:i]).min() > AGREEMENT_DISTANCE


def test_models_without_values_of_the_prompt_alone_are_searched_without_text_starts(
    pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert value_sites(open_denoiser(pipe))
    monkeypatch.setattr("flashbulb.audit.discover.search.value_sites", lambda _denoiser: [])
    state = searched(toy_search(pipe, {}, text_starts=4, patience=1), 5000)
    assert state.n_rounds == 1
    assert state.spent["glance"] == 0
