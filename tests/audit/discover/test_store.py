"""Rounds of a search come back as they were kept, whole and of the same search, or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.discover.store import SearchStore
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.outcome import Outcome
from flashbulb.audit.training_images.resemblance import Nearest

N_NEURONS = 12
BEGIN = {"reference": 16, "climb": 0, "verify": 0, "deflate": 0, "glance": 0}
NEAREST = Nearest(3, Path("bilder/жар.png"), 0.125, True, "template", (0.0, 0.1, 0.5, 1.0), 0.75)


def begin() -> SearchState:
    return SearchState(torch.zeros(0, N_NEURONS), dict(BEGIN))


def discovery(number: int, start: int, nearest: Nearest | None) -> Discovery:
    """A finding of random numbers that follow from its place."""
    rng = np.random.default_rng([number, start])
    shapes = {"prompt_embeds": (1, 4, 8), "pooled_prompt_embeds": (1, 8)}
    given = {name: torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for name, shape in shapes.items()}
    images = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    outcome, familiarity = Outcome(1, 2 / 3, nearest, 0.8, "likely"), 1.25 * start if start else None
    return Discovery(outcome, images, Conditioning(given), number, start, 92, 500 + number, familiarity)


def search_on(state: SearchState, store: SearchStore) -> None:
    """Add a round that found as many images as there were rounds before, and keep it."""
    number, n_known = state.n_rounds, len(state.found)
    new = [discovery(number, start, NEAREST if start else None) for start in range(number)]
    directions = torch.eye(N_NEURONS)[n_known : n_known + number]
    state.found = torch.cat([state.found, directions])
    n_before = len(state.discoveries)
    state.discoveries += new
    state.times_found = [n + 1 for n in state.times_found] + [1] * len(new)
    state.spent["climb"] += 90
    state.n_rounds, state.n_starts, state.seconds = number + 1, state.n_starts + 2, state.seconds + 0.5
    state.barren = 0 if new else state.barren + 1
    store.save(state, n_before, n_known)


def assert_same(state: SearchState, other: SearchState) -> None:
    assert torch.equal(state.found, other.found)
    plain = ("spent", "times_found", "n_rounds", "n_starts", "barren", "seconds")
    assert [getattr(state, name) for name in plain] == [getattr(other, name) for name in plain]
    for discovery, same in zip(state.discoveries, other.discoveries, strict=True):
        np.testing.assert_array_equal(discovery.images, same.images)
        assert discovery.conditioning.tensors.keys() == same.conditioning.tensors.keys()
        for name, tensor in discovery.conditioning.tensors.items():
            assert torch.equal(tensor, same.conditioning.tensors[name])
        stated = ("outcome", "round", "start", "cost", "evaluations", "familiarity")
        assert [getattr(discovery, name) for name in stated] == [getattr(same, name) for name in stated]


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, list[SearchState]]:
    """A folder of three rounds, and the state before each and after the last."""
    store, state, states = SearchStore(tmp_path / "rounds", "f00"), begin(), [begin()]
    for _ in range(3):
        search_on(state, store)
        copied = replace(state, spent=dict(state.spent), discoveries=list(state.discoveries))
        states.append(copied)
    return tmp_path / "rounds", states


def rounds_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_every_round_comes_back_as_it_was(kept: tuple[Path, list[SearchState]]) -> None:
    folder, states = kept
    loaded = SearchStore(folder, "f00").load(begin())
    assert_same(loaded, states[-1])
    assert [(d.round, d.start) for d in loaded.discoveries] == [(1, 0), (2, 0), (2, 1)]
    assert [path.name for path in rounds_of(folder)] == [f"round-0000{i}.safetensors" for i in range(3)]


def test_search_goes_on_from_kept_rounds_as_if_it_had_not_stopped(kept: tuple[Path, list[SearchState]]) -> None:
    folder, states = kept
    store = SearchStore(folder, "f00")
    resumed = store.load(begin())
    search_on(resumed, store)
    assert_same(store.load(begin()), resumed)
    search_on(states[-1], SearchStore(folder.with_name("other"), "f00"))
    assert_same(resumed, states[-1])


def test_nothing_kept_is_a_begin(tmp_path: Path) -> None:
    assert_same(SearchStore(tmp_path / "none", "f00").load(begin()), begin())


def test_rounds_from_a_torn_one_on_are_not_taken_wherever_it_is_torn(kept: tuple[Path, list[SearchState]]) -> None:
    folder, states = kept
    torn = rounds_of(folder)[1]
    whole = torn.read_bytes()
    for keep in [0, 1, 7, 8, 9, *range(20, len(whole), 97), len(whole) - 1]:
        torn.write_bytes(whole[:keep])
        assert_same(SearchStore(folder, "f00").load(begin()), states[1])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_rounds_from_a_missing_one_on_are_not_taken(kept: tuple[Path, list[SearchState]], number: int) -> None:
    folder, states = kept
    rounds_of(folder)[number].unlink()
    assert_same(SearchStore(folder, "f00").load(begin()), states[number])


def test_rounds_of_another_search_are_not_taken(kept: tuple[Path, list[SearchState]]) -> None:
    assert_same(SearchStore(kept[0], "f01").load(begin()), begin())


@pytest.mark.parametrize("metadata", [None, {}, {"flashbulb": "{}"}, {"flashbulb": "not JSON"}, {"flashbulb": "[1]"}])
def test_rounds_from_a_strangers_file_on_are_not_taken(
    kept: tuple[Path, list[SearchState]], metadata: dict[str, str] | None
) -> None:
    folder, states = kept
    save_file({"directions": torch.zeros(1, N_NEURONS)}, rounds_of(folder)[1], metadata=metadata)
    assert_same(SearchStore(folder, "f00").load(begin()), states[1])


def test_round_that_is_searched_again_ends_the_rounds_that_followed_it(kept: tuple[Path, list[SearchState]]) -> None:
    folder, states = kept
    rounds_of(folder)[1].write_bytes(b"torn")
    store = SearchStore(folder, "f00")
    search_on(store.load(begin()), store)
    assert_same(SearchStore(folder, "f00").load(begin()), states[2])
