"""Many seeds in few steps: every attempt costs what the denoiser evaluates, and gives a group of its samples."""

import numpy as np
import pytest

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.ladder import LadderPrompt, Target
from flashbulb.audit.recover.strategies.few_steps import FewSteps, FewStepsPlan, encode_once, few_steps_plan
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.settings import AuditSettings
from tests.audit.counting import counted_latents
from tests.tolerances import IMAGE_LEVELS

PLAN = FewStepsPlan(0, 6, 2, 3.0, batch_size=4)
GROUPS = "flashbulb.audit.recover.groups.alike_samples"


@pytest.fixture(scope="module")
def denoiser(toy_pipe) -> Denoiser:
    return open_denoiser(toy_pipe)


@pytest.fixture
def strategy(denoiser) -> FewSteps:
    return FewSteps(denoiser, Verifier(denoiser, VerifyPlan(0, 2, 2, 4)), PLAN)


def prompts(*keys):
    return [
        LadderPrompt(key, Target(f"a {key} star by the sea", (), ()), np.empty(0, dtype=np.uint8), lambda: None)
        for key in keys
    ]


def sure_of(monkeypatch, confidence: float) -> None:
    monkeypatch.setattr("flashbulb.audit.recover.signs.confidence_of", lambda _signs, *, is_plain: confidence)


@pytest.mark.parametrize("restart", [0, 1])
@pytest.mark.parametrize("group", [[5, 0, 2], []])
def test_an_attempt_costs_what_the_denoiser_evaluates(strategy, monkeypatch, group, restart):
    monkeypatch.setattr(GROUPS, lambda _images: group)
    monkeypatch.setattr("flashbulb.audit.recover.verify.GUIDED_DISTANCE", 1.0)
    sure_of(monkeypatch, 0.99)
    with counted_latents() as count:
        (attempt,) = strategy.try_(prompts("red"), restart)
    assert PLAN.evaluations(strategy.denoiser) == 6 * 2 * 2
    assert attempt.evaluations == count.n_latents <= strategy.worst_cost
    assert (attempt.signs is not None) == bool(group)
    assert (attempt.strategy, attempt.restart, attempt.kinship) == ("few_steps", restart, None)


@pytest.mark.parametrize(("confidence", "counts"), [(0.91, True), (0.89, False)])
def test_only_a_group_that_its_signs_confirm_counts(strategy, monkeypatch, confidence, counts):
    monkeypatch.setattr(GROUPS, lambda _images: [5, 0, 2])
    monkeypatch.setattr("flashbulb.audit.recover.verify.GUIDED_DISTANCE", 1.0)
    sure_of(monkeypatch, confidence)
    (attempt,) = strategy.try_(prompts("red"), 0)
    assert (attempt.signs is not None) == counts
    assert attempt.evaluations > PLAN.evaluations(strategy.denoiser)  # what the look took is paid for either way


def test_what_is_kept_is_the_text_of_the_sample_in_the_middle(strategy, monkeypatch, denoiser):
    monkeypatch.setattr(GROUPS, lambda _images: [5, 0, 2])
    whole, shortened = (strategy.try_(prompts("red"), restart)[0].conditioning for restart in (0, 1))
    expected = denoiser.encode(["a red star by the sea"]).conditioning
    for name, tensor in expected.tensors.items():
        assert np.allclose(whole.tensors[name], tensor.cpu(), atol=1e-5)
        assert not np.allclose(shortened.tensors[name], tensor.cpu(), atol=1e-2)


@pytest.mark.parametrize("restart", [0, 1])
def test_a_prompt_does_not_depend_on_the_others(strategy, restart):
    together, (alone,) = strategy.try_(prompts("red", "blue"), restart), strategy.try_(prompts("blue"), restart)
    assert np.abs(together[1].images.astype(int) - alone.images).max() <= IMAGE_LEVELS


def test_a_repeated_text_is_encoded_once(denoiser):
    texts = ["a red star", "the sea", "a red star"]
    expected = denoiser.encode(texts).conditioning
    for name, tensor in encode_once(denoiser, texts, 1).tensors.items():
        assert np.allclose(tensor, expected.tensors[name].cpu(), atol=1e-5)


def test_a_model_that_is_sampled_in_fewer_steps_or_without_guidance_stays_so():
    values = dict(AuditSettings(model="m", prompts="p", reference=None, train_images=None, out="o"))
    assert few_steps_plan(values, 7).num_inference_steps == 6
    few = few_steps_plan(values | {"sample_steps": 4, "guidance_scale": 1.0}, 7)
    assert (few.n_seeds, few.num_inference_steps, few.guidance_scale) == (7, 4, 1.0)
