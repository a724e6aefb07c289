"""Images sampled away from the base are verified by the fine-tune alone."""

import numpy as np
import pytest

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.ladder import LadderPrompt, Target
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.strategies.extrapolate import Extrapolate
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from tests.toy import build_toy_pipe

PLAN = SamplePlan(run_seed=0, n_samples=2, num_inference_steps=2, guidance_scale=3.0)


@pytest.mark.parametrize("agrees", [True, False])
def test_the_base_takes_part_in_sampling_and_not_in_verification(monkeypatch, agrees):
    monkeypatch.setattr("flashbulb.audit.recover.verify.GUIDED_DISTANCE", 1.0 if agrees else 0.0)
    own, base = open_denoiser(build_toy_pipe()), open_denoiser(build_toy_pipe(seed=1))
    verifier = Verifier(own, VerifyPlan(run_seed=0, n_samples=2, num_inference_steps=2, batch_size=4))
    strategy = Extrapolate(own, verifier, PLAN, base.called)
    prompt = LadderPrompt("a", Target("a red star", (), ()), np.empty(0, dtype=np.uint8), lambda: None)
    (attempt,) = strategy.try_([prompt], 0)
    assert (attempt.signs is not None) == agrees
    assert base.evaluations == PLAN.evaluations(own)
    verified = verifier.most_evaluations if agrees else 0
    assert own.evaluations == PLAN.evaluations(own) + verified
    assert attempt.evaluations == own.evaluations + base.evaluations
    if agrees:
        look = (attempt.conditioning, ["extrapolate\na"], [attempt.images])
        assert verifier.look_at_guided(*look)[0].signs == attempt.signs
        assert Verifier(base, verifier.plan).look_at_guided(*look)[0].signs != attempt.signs
