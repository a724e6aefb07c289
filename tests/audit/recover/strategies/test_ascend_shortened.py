"""Ascents from shortened prompts: paid for to the evaluation, and each prompt's are its own."""

import numpy as np
import pytest

from flashbulb.audit.ascent.climb import ClimbPlan
from flashbulb.audit.recover.ladder import LadderPrompt, Target
from flashbulb.audit.recover.strategies import ascend_shortened
from flashbulb.audit.recover.strategies.ascend import AscendPlan
from flashbulb.audit.recover.strategies.ascend_shortened import AscendShortened
from flashbulb.audit.recover.strategies.few_steps import FewStepsPlan
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from tests.audit.counting import counted_latents
from tests.tolerances import IMAGE_LEVELS

CLIMB = ClimbPlan(2, 0.02, 0.3, "token_embeddings", 4, False)
GROUPS = "flashbulb.audit.recover.groups.alike_samples"
BACKWARD = 2 * 2  # UE of the backward passes of two ascents of one step


@pytest.fixture
def strategy(scored, monkeypatch) -> AscendShortened:
    for name, value in {"N_TRIED": 5, "N_BEST": 2, "N_SEEDS": 3}.items():
        monkeypatch.setattr(ascend_shortened, name, value)
    verifier = Verifier(scored.denoiser, VerifyPlan(0, 2, 2, 4))
    plan = FewStepsPlan(0, 3, 2, 3.0, batch_size=4)
    return AscendShortened(scored.denoiser, scored.scores, verifier, AscendPlan(0, 2, 2, CLIMB), plan)


def prompts(*words):
    texts = [f"a {word} star by the sea" for word in words]
    return [LadderPrompt(t, Target(t, (0, 3), (1.0, 1.0)), np.empty(0, dtype=np.uint8), lambda: None) for t in texts]


@pytest.mark.parametrize("group", [[5, 0, 2], []])
def test_an_attempt_costs_what_the_denoiser_evaluates(strategy, monkeypatch, group):
    monkeypatch.setattr(GROUPS, lambda _images: group)
    monkeypatch.setattr("flashbulb.audit.recover.verify.GUIDED_DISTANCE", 1.0)
    with counted_latents() as count:
        (attempt,) = strategy.try_(prompts("red"), 0)
    assert attempt.evaluations == count.n_latents + BACKWARD <= strategy.worst_cost
    assert (attempt.signs is not None) == bool(group)
    assert -1 <= attempt.kinship <= 1


def test_a_prompt_does_not_depend_on_the_others(strategy):
    together, (alone,) = strategy.try_(prompts("red", "blue"), 0), strategy.try_(prompts("blue"), 0)
    assert np.abs(together[1].images.astype(int) - alone.images).max() <= IMAGE_LEVELS
    assert together[1].kinship == pytest.approx(alone.kinship, abs=1e-4)


def test_without_neurons_to_climb_it_says_so():
    line = AscendShortened.missing({"sites": ("text_mlp",), "ascend_kind": "feed_forward"})
    assert line.startswith("--strategy ascend_shortened needs feed_forward neurons")
    assert "or leave ascend_shortened out" in line
    assert AscendShortened.missing({"sites": ("feed_forward",), "ascend_kind": "feed_forward"}) is None
