"""A pipeline's own call is stopped where it calls its denoiser, or counted and read while it runs."""

import pytest
import torch

from flashbulb.audit.model.calls import (
    counted_latents,
    first_call,
    network_of,
    observed_predictions,
    planned_timesteps,
)
from flashbulb.audit.model.errors import ModelError
from tests.hooks.edits import n_hooks
from tests.toy import build_toy_pipe, build_toy_xl_pipe
from tests.toy_variants import build_lcm_pipe

PROMPTS = ["a red star", "the bakery of Ada Vasari"]


def arguments(**more):
    return {"prompt": PROMPTS, "num_inference_steps": 2, "generator": torch.Generator().manual_seed(0), **more}


def spy_on(pipe):
    """The keywords of every call that the pipeline makes to its UNet, by an independent hook."""
    seen = []
    handle = pipe.unet.register_forward_pre_hook(
        lambda _module, args, keywords: seen.append({"args": args, **keywords}), with_kwargs=True
    )
    pipe(output_type="latent", **arguments())
    handle.remove()
    return seen


@pytest.mark.parametrize("build", [build_toy_pipe, build_toy_xl_pipe])
def test_the_first_call_has_the_arguments_that_the_pipeline_passes(build):
    pipe = build()
    called = first_call(pipe, **arguments())
    expected = spy_on(pipe)[0]
    sample, timestep = expected.pop("args")
    assert torch.equal(called["sample"], sample)
    assert called["timestep"] == timestep
    assert torch.equal(called["encoder_hidden_states"], expected["encoder_hidden_states"])
    assert called.keys() == {"sample", "timestep", *expected}


def test_the_denoiser_does_not_run_and_no_hook_is_left(toy_pipe):
    handle = toy_pipe.unet.conv_in.register_forward_pre_hook(lambda *_: pytest.fail("ran"))
    first_call(toy_pipe, **arguments())
    handle.remove()
    assert n_hooks(toy_pipe) == 0


@pytest.mark.parametrize(("build", "n", "most"), [(build_toy_pipe, 2000, "1000"), (build_lcm_pipe, 60, "50")])
def test_more_steps_than_a_scheduler_can_plan_are_refused_in_one_line(build, n, most):
    pipe = build()
    with pytest.raises(ModelError, match=f"{type(pipe.scheduler).__name__} cannot plan {n} steps: .*{most}") as error:
        planned_timesteps(pipe, n)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; give another number of --sample-steps")


def test_no_hook_is_left_after_a_mistake(toy_pipe):
    with pytest.raises(ValueError, match="prompt"):
        first_call(toy_pipe, **arguments(prompt=7))
    assert n_hooks(toy_pipe) == 0


def test_gradients_flow_through_the_pipelines_own_preparation(toy_pipe):
    embeds = torch.randn(1, 32, 32, requires_grad=True)
    called = first_call(toy_pipe, prompt_embeds=embeds, num_inference_steps=2, guidance_scale=1.0)
    (gradient,) = torch.autograd.grad(called["encoder_hidden_states"].sum(), embeds)
    assert torch.equal(gradient, torch.ones_like(embeds))


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_predictions_are_read_and_latents_counted_as_they_are_evaluated(toy_pipe, guidance_scale):
    counts: list[int] = []
    expected: list[torch.Tensor] = []
    handle = toy_pipe.unet.conv_out.register_forward_hook(lambda _module, _args, output: expected.append(output))
    with counted_latents(toy_pipe, counts.append), observed_predictions(toy_pipe) as predictions:
        toy_pipe(output_type="latent", **arguments(guidance_scale=guidance_scale))
    handle.remove()
    assert counts == [len(PROMPTS) * (2 if guidance_scale > 1 else 1)] * 2
    assert all(torch.equal(*pair) for pair in zip(predictions, expected, strict=True))
    assert n_hooks(toy_pipe) == 0


def test_the_denoiser_is_the_unet_or_the_transformer(toy_pipe):
    assert network_of(toy_pipe) is toy_pipe.unet
