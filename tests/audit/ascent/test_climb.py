"""An ascent climbs within its region, moves what may move, and leaves the model as it was."""

from dataclasses import replace

import pytest
import torch

from flashbulb.audit.ascent.climb import ClimbPlan, climb
from flashbulb.audit.ascent.neurons import ChosenNeurons
from flashbulb.audit.model.denoiser import Denoiser
from tests.audit.scored import scored_of
from tests.toy import build_toy_pipe, build_toy_xl_pipe

PLAN = ClimbPlan(
    n_steps=3, learning_rate=0.02, radius=0.5, variable="token_embeddings", batch_size=3, checkpointing=False
)
PROMPTS = ["abc", "a blue sea", "zzqx !!!! @@@@"]
SAME_WITHIN = 1e-5  # of prompt_embeds about 1 in size: what moves is kept in float32


def generators(n=3):
    return [torch.Generator().manual_seed(i) for i in range(n)]


def first_neurons(scored, n=3):
    index = torch.arange(4).repeat(n, 1) + 10 * torch.arange(n)[:, None]
    return ChosenNeurons(scored.scores, index, torch.ones(n, 4))


def embeds_of(conditioning):
    return conditioning.tensors["prompt_embeds"]


def start_of(scored):
    """The vectors that an ascent starts from: [prompt, position, width]."""
    return scored.denoiser.token_embeddings(scored.denoiser.encode(PROMPTS))["text_encoder"]


def ascend(scored, plan=PLAN, prompts=PROMPTS):
    denoiser = scored.denoiser
    return climb(
        denoiser,
        denoiser.encode(prompts),
        first_neurons(scored, len(prompts)),
        plan,
        generators(len(prompts)),
    )


@pytest.fixture
def reached_by(monkeypatch):
    """What the ascent fed through the text encoder, last first."""
    fed = []
    own = Denoiser.encode_from

    def keep(self, token_embeddings, prompts):
        (vectors,) = token_embeddings.values()
        fed.insert(0, vectors.detach().clone())
        return own(self, token_embeddings, prompts)

    monkeypatch.setattr(Denoiser, "encode_from", keep)
    return fed


def at_one_noise(scored):
    """The objective at a noise that does not change, so that its rise is the ascent's."""
    objective, latents = first_neurons(scored), scored.denoiser.noise(generators()[:1])
    return lambda drawn, conditioning, rows: objective(latents.expand(len(drawn), -1, -1, -1), conditioning, rows)


@pytest.mark.parametrize("variable", ["token_embeddings", "prompt_embeds"])
def test_the_objective_rises(scored, variable):
    denoiser, prompts, objective = scored.denoiser, scored.denoiser.encode(PROMPTS), at_one_noise(scored)
    climbed = climb(denoiser, prompts, objective, replace(PLAN, n_steps=6, variable=variable), generators())
    assert (climbed.last > climbed.first).all()
    drawn, rows = denoiser.noise(generators()), slice(0, 3)
    with torch.no_grad():
        before = objective(drawn, prompts.conditioning, rows)
        after = objective(drawn, climbed.conditioning, rows)
    torch.testing.assert_close(climbed.first, before, rtol=1e-3, atol=1e-3)
    assert (after > before).all()


def test_noise_is_drawn_anew_each_step_from_each_rows_generator(scored):
    drawn = []

    def objective(latents, conditioning, rows):
        drawn.append(latents.detach().clone())
        return embeds_of(conditioning).square().mean(dim=(1, 2))

    climb(scored.denoiser, scored.denoiser.encode(PROMPTS), objective, PLAN, generators())
    expected = [[torch.randn(4, 8, 8, generator=generator) for _ in range(3)] for generator in generators()]
    assert torch.equal(torch.stack(drawn, dim=1), torch.stack([torch.stack(row_latents) for row_latents in expected]))


def test_what_is_given_back_is_what_was_reached(scored, reached_by):
    climbed = ascend(scored)
    with torch.no_grad():
        expected = scored.denoiser.encode_from({"text_encoder": reached_by[0]}, scored.denoiser.encode(PROMPTS))
    assert torch.equal(embeds_of(climbed.conditioning), embeds_of(expected))
    assert len(reached_by) == 1 + PLAN.n_steps + 1


@pytest.mark.parametrize("radius", [0.01, 0.1, 0.0])
def test_no_vector_leaves_its_ball_and_the_start_token_stays(scored, reached_by, radius):
    ascend(scored, replace(PLAN, radius=radius, learning_rate=0.1))
    start = start_of(scored)
    for reached in reached_by:
        assert torch.equal(reached[:, 0], start[:, 0])
        moved = (reached - start).norm(dim=2)
        assert (moved <= radius * start.norm(dim=2) * 1.001 + 1e-7).all()
    assert torch.equal(reached_by[0], start) == (radius == 0)


def test_what_stays_inside_its_ball_moves_as_far_as_the_learning_rate_lets_it(scored, reached_by):
    ascend(scored, replace(PLAN, radius=1e3, learning_rate=1e-3))
    start = start_of(scored)
    furthest = (reached_by[0] - start).abs().max()
    assert 1e-3 < furthest < 1.5e-3 * PLAN.n_steps  # Adam moves a coordinate by about its rate


def test_both_text_encoders_of_a_pipeline_climb():
    two = scored_of(build_toy_xl_pipe())
    denoiser, prompts, seen = two.denoiser, two.denoiser.encode(PROMPTS), []

    def objective(latents, conditioning, rows):
        seen.append(conditioning.kept())
        return first_neurons(two)(latents, conditioning, rows)

    climbed = climb(denoiser, prompts, objective, PLAN, generators())
    for name, start in seen[0].tensors.items():
        assert not torch.equal(climbed.conditioning.tensors[name], start)


@pytest.mark.parametrize(("variable", "learning_rate"), [("token_embeddings", 1.0), ("prompt_embeds", 10.0)])
def test_rows_do_not_depend_on_their_batch(precise, plain_descent, variable, learning_rate):
    plan = replace(PLAN, variable=variable, learning_rate=learning_rate)
    whole = ascend(precise, plan)
    for batch_size in (1, 2):
        parts = ascend(precise, replace(plan, batch_size=batch_size))
        torch.testing.assert_close(
            embeds_of(parts.conditioning), embeds_of(whole.conditioning), rtol=0, atol=SAME_WITHIN
        )
        torch.testing.assert_close(parts.last, whole.last, rtol=0, atol=SAME_WITHIN)
        assert parts.evaluations == whole.evaluations
    start, reached = embeds_of(precise.denoiser.encode(PROMPTS).conditioning).float(), embeds_of(whole.conditioning)
    assert (reached - start).abs().amax(dim=(1, 2)).gt(1000 * SAME_WITHIN).all()
    assert (reached[0] - reached[1]).abs().max() > 1000 * SAME_WITHIN


def test_one_start_and_step_cost_three_evaluations(scored):
    for batch_size in (1, 2, 3):
        before = scored.denoiser.evaluations
        assert ascend(scored, replace(PLAN, batch_size=batch_size)).evaluations == 3 * PLAN.n_steps
        assert scored.denoiser.evaluations - before == 3 * PLAN.n_steps * len(PROMPTS)


def test_checkpointing_reaches_the_same_and_is_switched_back(precise, plain_descent):
    plan = replace(PLAN, learning_rate=1.0)
    plain = ascend(precise, plan)
    checkpointed = ascend(precise, replace(plan, checkpointing=True))
    torch.testing.assert_close(
        embeds_of(checkpointed.conditioning), embeds_of(plain.conditioning), rtol=0, atol=SAME_WITHIN
    )
    assert not precise.denoiser.pipe.unet.is_gradient_checkpointing


@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_parameters_ask_for_gradients_as_before_and_have_none(ends):
    own = scored_of(build_toy_pipe())
    pipe = own.denoiser.pipe
    parameters = [p for part in (pipe.unet, pipe.text_encoder, pipe.vae) for p in part.parameters()]
    for i, parameter in enumerate(parameters):
        parameter.requires_grad_(i % 3 > 0)
    asked_while_climbing = []

    def objective(latents, conditioning, rows):
        asked_while_climbing.append(any(p.requires_grad for p in parameters))
        if ends == "with an error":
            raise KeyError
        return first_neurons(own)(latents, conditioning, rows)

    def run():
        climb(own.denoiser, own.denoiser.encode(PROMPTS), objective, replace(PLAN, checkpointing=True), generators())

    if ends == "well":
        run()
    else:
        with pytest.raises(KeyError):
            run()
    assert asked_while_climbing
    assert not any(asked_while_climbing)
    assert [p.requires_grad for p in parameters] == [i % 3 > 0 for i in range(len(parameters))]
    assert all(p.grad is None for p in parameters)
    assert not pipe.unet.is_gradient_checkpointing
    assert not any(
        m._forward_hooks or m._forward_pre_hooks for m in (*pipe.unet.modules(), *pipe.text_encoder.modules())
    )


@pytest.mark.parametrize(
    ("dtype", "variable"),
    [
        (torch.bfloat16, "token_embeddings"),
        (torch.bfloat16, "prompt_embeds"),
        (torch.float16, "token_embeddings"),
    ],
)
def test_half_precision_climbs_as_well(dtype, variable):
    half = scored_of(build_toy_pipe().to(dtype))
    plan = replace(PLAN, variable=variable)
    climbed = climb(half.denoiser, half.denoiser.encode(PROMPTS), at_one_noise(half), plan, generators())
    assert embeds_of(climbed.conditioning).dtype == climbed.last.dtype == torch.float32
    assert embeds_of(climbed.conditioning).isfinite().all()
    assert (climbed.last > climbed.first).all()


def test_a_start_whose_gradient_overflows_stays_with_a_warning_and_the_others_climb(toy_pipe, caplog):
    scored = scored_of(toy_pipe)
    objective = first_neurons(scored)

    def broken(latents, conditioning, rows):
        values = objective(latents, conditioning, rows)
        return values * torch.tensor([1.0, float("nan"), 1.0])

    prompts = scored.denoiser.encode(PROMPTS)
    whole, reached = (
        embeds_of(climb(scored.denoiser, prompts, values, PLAN, generators()).conditioning)
        for values in (objective, broken)
    )
    torch.testing.assert_close(reached[[0, 2]], whole[[0, 2]])
    torch.testing.assert_close(reached[1], embeds_of(prompts.conditioning)[1].float())
    (warning,) = caplog.messages
    assert "1 of 3 ascents met gradients that are not finite" in warning
