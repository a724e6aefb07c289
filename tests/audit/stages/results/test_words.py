"""Plain samples of words confirm likely findings, each image once."""

import numpy as np
import pytest
import torch

from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.outcome import Outcome
from flashbulb.audit.stages.results.words import CONFIRMS_AT, confirm_by_words_
from flashbulb.audit.words.words import Words


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
