"""Ascents start from their caption alone, and kinship tells whether what they reached is still the caption's."""

from dataclasses import replace

import pytest
import torch

from flashbulb.audit.ascent.climb import ClimbPlan, climb
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.ladder import Target
from flashbulb.audit.recover.strategies.ascend import N_KINSHIP, AscendPlan, ascents_of, kinship, starts_of
from tests.tolerances import ARITHMETIC

CLIMB = ClimbPlan(
    n_steps=2, learning_rate=0.02, radius=0.3, variable="token_embeddings", batch_size=2, checkpointing=False
)
PLAN = AscendPlan(run_seed=0, n_restarts=4, n_highest=5, climb=CLIMB)
TARGETS = [Target(f"a {word} star", (3, 40, 7), (1.0, -1.0, 1.0)) for word in ("red", "grey", "black")]


def ascend(denoiser, scores, targets, restart, plan):
    texts = [start.text for start in starts_of(denoiser, scores, targets, restart, plan)]
    return climb(denoiser, *ascents_of(denoiser, scores, targets, texts, restart, plan))


def encode(scored, texts):
    return scored.denoiser.encode(texts).conditioning


def embeds_of(conditioning):
    return conditioning.tensors["prompt_embeds"]


def own(scored):
    return encode(scored, [target.prompt for target in TARGETS])


@pytest.mark.parametrize("restart", [0, 1, 2])
def test_an_ascent_does_not_depend_on_the_other_targets(precise, plain_descent, restart):
    plan = replace(PLAN, climb=replace(CLIMB, learning_rate=1.0))
    together = ascend(precise.denoiser, precise.scores, TARGETS, restart, plan)
    alone = ascend(precise.denoiser, precise.scores, TARGETS[2:], restart, plan)
    torch.testing.assert_close(
        embeds_of(alone.conditioning)[0], embeds_of(together.conditioning)[2], rtol=0, atol=ARITHMETIC
    )
    assert together.evaluations == alone.evaluations == 3 * (CLIMB.n_steps if restart == 0 else 1)
    assert (embeds_of(together.conditioning) - embeds_of(own(precise))).abs().amax(dim=(1, 2)).gt(1e-3).all()


def test_restarts_and_run_seeds_differ(scored):
    reached = [
        embeds_of(ascend(scored.denoiser, scored.scores, TARGETS[:1], restart, plan).conditioning)
        for restart, plan in ((0, PLAN), (1, PLAN), (3, PLAN), (1, AscendPlan(1, 4, 5, CLIMB)))
    ]
    for i, embeds in enumerate(reached):
        assert all((embeds - other).abs().max() > 1e-4 for other in reached[:i])


def test_later_restarts_leave_out_one_more_word_each(scored):
    starts = [
        [len(start.text.split()) for start in starts_of(scored.denoiser, scored.scores, TARGETS, restart, PLAN)]
        for restart in range(4)
    ]
    assert starts == [[3] * 3, [3] * 3, [2] * 3, [2] * 3]  # two words always stay


def test_later_restarts_climb_the_highest_neurons_whichever_they_are(scored):
    latents = scored.denoiser.initial_latents(0, range(len(TARGETS)))
    encoded, every = own(scored), slice(0, len(TARGETS))
    texts = [target.prompt for target in TARGETS]
    with torch.no_grad():
        first, later = (
            ascents_of(scored.denoiser, scored.scores, TARGETS, texts, restart, PLAN).objective(latents, encoded, every)
            for restart in (0, 1)
        )
        highest = scored.scores(latents, encoded).topk(5, dim=1).values.mean(dim=1)
    torch.testing.assert_close(later, highest, rtol=0, atol=ARITHMETIC)
    assert (first < later).all()


def test_a_prompt_that_did_not_move_is_wholly_its_own(scored):
    before = scored.denoiser.evaluations
    assert kinship(scored.denoiser, scored.scores, TARGETS, own(scored), PLAN) == pytest.approx([1.0] * 3, abs=1e-3)
    assert scored.denoiser.evaluations - before == 2 * N_KINSHIP * len(TARGETS)


def test_an_unrelated_prompt_is_less_so_than_one_that_moved_a_little(scored):
    strange = encode(scored, ["zzqx !!!! @@@@ ####", "жар-птица", "0123456789"])
    near = Conditioning({"prompt_embeds": 0.9 * embeds_of(own(scored)) + 0.1 * embeds_of(strange)})
    far = kinship(scored.denoiser, scored.scores, TARGETS, strange, PLAN)
    close = kinship(scored.denoiser, scored.scores, TARGETS, near.kept(), PLAN)
    assert all(a < b for a, b in zip(far, close, strict=True))
    assert far[0] < 0.5


def test_kinship_does_not_look_at_the_neurons_that_were_climbed(scored):
    all_but_one = tuple(range(1, scored.scores.n_neurons))
    targets = [Target("a red star", all_but_one, (1.0,) * len(all_but_one))]
    reached = encode(scored, ["zzqx !!!!"])
    (cosine,) = kinship(scored.denoiser, scored.scores, targets, reached, PLAN)
    assert abs(cosine) == pytest.approx(1.0, abs=1e-4)  # of one neuron, a sign
