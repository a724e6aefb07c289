"""A blind search keeps to its budget and its patience, repeats itself, and finds every image once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from flashbulb.audit.discover.deflation import with_direction
from flashbulb.audit.discover.search import cost_of_start
from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.verify import Verifier
from flashbulb.audit.stages.discover import search_plan, search_verify_plan
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.hooks import NonFiniteActivation
from tests.audit.searches import COST_OF_START, N_REFERENCE, build_worded_pipe, evaluations_of, quick, toy_search


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    """A toy pipeline whose tokenizer knows words; leave it as it was."""
    return build_worded_pipe()


def embeds_of(discovery: Discovery) -> torch.Tensor:
    return discovery.conditioning.tensors["prompt_embeds"]


def found_by(state: SearchState) -> list[tuple[int, int]]:
    """Round and start of every finding."""
    return [(discovery.round, discovery.start) for discovery in state.discoveries]


def test_same_seed_gives_the_same_findings_and_another_seed_others(pipe: StableDiffusionPipeline) -> None:
    states: list[SearchState] = []
    for seed in (3, 3, 4):
        search = toy_search(pipe, {(0, 0): 60, (0, 1): 200}, seed=seed)
        states.append(search.begin())
        next(search.rounds(states[-1], 1000))
    first, again, other = states
    assert found_by(first) == found_by(again) == [(0, 0), (0, 1)]
    assert [d.evaluations for d in first.discoveries] == [d.evaluations for d in again.discoveries]
    assert torch.equal(first.found, again.found)
    for discovery, same, another in zip(first.discoveries, again.discoveries, other.discoveries, strict=True):
        assert torch.equal(embeds_of(discovery), embeds_of(same))
        assert not torch.equal(embeds_of(discovery), embeds_of(another))


@pytest.mark.parametrize(("n_starts", "left"), [(0, COST_OF_START - 1), (1, 0), (3, COST_OF_START - 1)])
def test_budget_pays_for_whole_starts_and_is_never_exceeded(
    pipe: StableDiffusionPipeline, n_starts: int, left: int
) -> None:
    budget = N_REFERENCE + n_starts * COST_OF_START + left
    with evaluations_of(pipe.unet) as spent:
        search = toy_search(pipe, {(0, 0): 0, (0, 1): 100, (1, 0): 200})  # shown starts take all that a start may
        state = search.begin()
        sizes: list[int] = []
        for _ in search.rounds(state, budget):
            sizes.append(state.n_starts - sum(sizes))
    assert sum(spent) == state.evaluations <= budget
    assert sizes == {0: [], 1: [1], 3: [2, 1]}[n_starts]
    assert state.evaluations == budget - left


def test_cost_of_a_start_is_what_a_shown_start_takes(pipe: StableDiffusionPipeline) -> None:
    settings = quick()
    assert (
        cost_of_start(search_plan(settings), Verifier(open_denoiser(pipe), search_verify_plan(settings)))
        == COST_OF_START
    )


def test_search_stops_after_barren_rounds_in_a_row(pipe: StableDiffusionPipeline) -> None:
    search = toy_search(pipe, {(1, 0): 60}, patience=2, n_starts=1)
    state = search.begin()
    assert [len(new) for new in search.rounds(state, 1000)] == [0, 1, 0, 0]
    assert (state.n_rounds, state.n_starts, state.barren) == (4, 4, 2)
    assert list(search.rounds(state, 1000)) == []


def test_search_stops_when_little_is_left(pipe: StableDiffusionPipeline) -> None:
    shown = {(number, start): 60 for number in range(4) for start in range(2)}
    search = toy_search(pipe, shown, patience=9, stop_at=0.5)
    state = search.begin()
    assert [len(new) for new in search.rounds(state, 1000)] == [1, 0, 0]
    assert state.times_found == [6]  # of four finds, none of an image found once, at most 60 % are new; of six, 46 %
    assert search.is_exhausted(state)


def test_one_image_is_one_finding(pipe: StableDiffusionPipeline) -> None:
    shown = {(0, 0): 60, (0, 1): 66, (1, 0): 50, (1, 1): 200, (2, 0): 210}
    search = toy_search(pipe, shown, patience=1)
    state = search.begin()
    assert [len(new) for new in search.rounds(state, 1000)] == [1, 1, 0]
    assert found_by(state) == [(0, 0), (1, 1)]


def test_one_training_image_is_one_finding_however_it_is_turned(pipe: StableDiffusionPipeline, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((4, 4, 1), dtype=np.uint8))
    mirrored = np.ascontiguousarray(image[:, ::-1])
    Image.fromarray(image).save(tmp_path / "secret.png")
    training = open_training_images(tmp_path, 16, 16)
    search = toy_search(pipe, {(0, 0): image, (0, 1): mirrored}, training, patience=1)
    state = search.begin()
    next(search.rounds(state, 1000))
    assert found_by(state) == [(0, 0)]
    assert state.discoveries[0].outcome.verdict == "confirmed"


def test_what_was_found_is_not_climbed_again(pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[torch.Tensor] = []

    def keep(found: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        reached.append(z)
        return with_direction(found, z)

    monkeypatch.setattr("flashbulb.audit.discover.search.with_direction", keep)
    search = toy_search(pipe, {(0, 0): 60}, n_starts=1, steps=10, seen_share=1.0)
    state = search.begin()
    next(search.rounds(state, 1000))
    (direction,) = state.found
    again = SearchState(state.found, search.begin().spent)
    next(search.rounds(again, 1000))  # the same round of the same starts, which see the same noise
    first, second = (float(z @ direction) for z in reached)
    assert first > 1
    assert second < 0.75 * first  # without deflation they are equal


def test_activations_of_neutral_prompts_that_are_not_finite_are_refused(
    pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashbulb.audit.discover.search.activations_of", lambda *_: np.full((4, 2), np.nan))
    with pytest.raises(NonFiniteActivation, match="neutral prompts are not finite; load the model in float32"):
        toy_search(pipe, {})
