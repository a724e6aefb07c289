"""Words are searched within a budget of their own; their plain samples confirm likely findings, each image once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.outcome import Outcome
from flashbulb.audit.settings import SettingsError
from flashbulb.audit.stages.results.words import CONFIRMS_AT, confirm_by_words_
from flashbulb.audit.words.words import Words
from tests.audit.discoveries import Searched, assert_same_results, copied, discover, small_search
from tests.audit.searches import N_REFERENCE
from tests.cases import slow_unless_in


def image(seed: int) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def discovery(verdict: str, seed: int) -> Discovery:
    outcome = Outcome(0, 1.0, None, 0.7, verdict)
    return Discovery(outcome, image(seed)[None], Conditioning({"prompt_embeds": torch.zeros(1, 2, 2)}), 0, 0, 1, 1)


def words(verdict: str, seed: int, score: float = CONFIRMS_AT) -> Words:
    return Words("star", 3, np.stack([image(seed)] * 4), score, verdict, 100)


def test_confirmed_words_confirm_a_likely_finding() -> None:
    state = SearchState(torch.zeros(0), {}, [discovery("likely", 0), discovery("likely", 1), discovery("likely", 2)])
    weak = words("confirmed", 12, CONFIRMS_AT - 0.1)
    raised = confirm_by_words_(state, {0: words("confirmed", 10), 1: words("likely", 11), 2: weak})
    assert raised == {0}
    assert [d.outcome.verdict for d in state.discoveries] == ["confirmed", "likely", "likely"]
    assert state.discoveries[0].outcome.confidence == 0.7


@pytest.mark.parametrize("first", ["confirmed", "likely"])
def test_an_image_is_confirmed_once(first: str) -> None:
    """The second finding's words show the image of the first, or what the words of the first show."""
    state = SearchState(torch.zeros(0), {}, [discovery(first, 0), discovery("likely", 1)])
    raised = confirm_by_words_(state, {0: words("confirmed", 0), 1: words("confirmed", 0)})
    assert raised == ({0} if first == "likely" else set())
    assert [d.outcome.verdict for d in state.discoveries] == ["confirmed", "likely"]


@pytest.mark.parametrize("images", slow_unless_in([True], [True, False]))
def test_words_are_searched_within_their_own_budget_and_resumed(
    model: Path, uninterrupted: Searched, tmp_path: Path, images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashbulb.audit.stages.results.words.words_search", small_search)
    first = discover(model, tmp_path / "run", words_budget=400, images=images)
    assert [f.evaluations for f in first.record.findings] == [f.evaluations for f in uninterrupted.record.findings]
    assert first.record.evaluations == uninterrupted.record.evaluations
    assert 1 <= first.record.n_words_searched < 4
    assert 0 < first.record.words_evaluations <= 400
    assert first.spent == uninterrupted.spent + first.record.words_evaluations
    assert "## Prompts in words" in (first.run / "summary.md").read_text(encoding="utf-8")
    run = copied(first, tmp_path)
    again = discover(model, run, words_budget=4000, images=images)
    assert again.record.n_words_searched == 4
    assert again.record.words_evaluations == 4 * first.record.words_evaluations // first.record.n_words_searched
    if images:
        assert again.spent < N_REFERENCE + again.record.words_evaluations
    less = discover(model, run, words_budget=400, images=images)
    assert_same_results(less, first)
    assert less.record.words_evaluations == first.record.words_evaluations <= 400


def test_a_budget_that_pays_for_no_words_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not pay for the words of one finding, which take up to 2"):
        discover(model, tmp_path / "run", words_budget=500)
    assert not (tmp_path / "run").exists()


def test_without_a_budget_no_words_are_searched(uninterrupted: Searched) -> None:
    assert (uninterrupted.record.n_words_searched, uninterrupted.record.words_evaluations) == (0, 0)
    assert "Prompts in words" not in (uninterrupted.run / "summary.md").read_text(encoding="utf-8")
