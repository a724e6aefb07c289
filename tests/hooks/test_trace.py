"""nnsight makes the same edits as plain hooks and leaves the pipeline unchanged."""

import warnings

import pytest
import torch
from torch import nn

from flashbulb.hooks import (
    SITE_KINDS,
    NeuronSet,
    SiteDidNotFire,
    ablate,
    capture,
    find_sites,
    patch,
    record_neurons,
    site_modules,
)
from flashbulb.hooks.trace import patch_traced, run_traced
from tests.cases import each_with_one, slow_unless_in
from tests.hooks.edits import BUILDERS, call_arguments, n_hooks, sample, some_neurons
from tests.processes import fork_python
from tests.tolerances import ARITHMETIC
from tests.toy import build_toy_pipe

BYS = ("unconditional", "mean", "zero")


@pytest.fixture(scope="module", params=slow_unless_in(["epsilon", "xl"], BUILDERS))
def pipe(request):
    return BUILDERS[request.param]()


def sample_traced(pipe, neurons, by, prompts="a red star", **changes):
    return run_traced(pipe, neurons, by, **call_arguments(prompts, **changes)).images


def sample_hooked(pipe, neurons, by, prompts="a red star", **changes):
    with ablate(pipe, neurons, by):
        return sample(pipe, prompts, **changes)


def attributes(pipe):
    """Return the attributes of every module of the pipeline, by object identity."""
    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    return [{name: id(value) for name, value in vars(m).items()} for part in parts for m in part.modules()]


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=ARITHMETIC)


@pytest.mark.parametrize(("kind", "by"), each_with_one(SITE_KINDS, BYS))
def test_nnsight_equals_hooks_at_every_kind_of_site(pipe, kind, by):
    neurons = some_neurons(pipe, [kind])
    expected = sample_hooked(pipe, neurons, by)
    assert_close(sample_traced(pipe, neurons, by), expected)
    assert (expected - sample(pipe)).abs().max() > 1e-3


@pytest.mark.parametrize("by", BYS)
def test_nnsight_equals_hooks_on_batches(pipe, by):
    neurons, prompts = some_neurons(pipe), ["a red star", "", "x"]
    assert_close(sample_traced(pipe, neurons, by, prompts), sample_hooked(pipe, neurons, by, prompts))
    prompts, changes = prompts[:2], {"negative_prompt": ["y"] * 2, "num_images_per_prompt": 2}
    assert_close(
        sample_traced(pipe, neurons, by, prompts, **changes), sample_hooked(pipe, neurons, by, prompts, **changes)
    )


@pytest.mark.parametrize("by", ["mean", "zero"])
def test_nnsight_equals_hooks_without_guidance(pipe, by):
    neurons = some_neurons(pipe)
    assert_close(
        sample_traced(pipe, neurons, by, guidance_scale=1.0), sample_hooked(pipe, neurons, by, guidance_scale=1.0)
    )


@pytest.mark.parametrize(("dtype", "by"), each_with_one([torch.bfloat16, torch.float16], BYS))
def test_nnsight_equals_hooks_in_half_precision(dtype, by):
    pipe = build_toy_pipe().to(dtype)
    neurons = some_neurons(pipe)
    changed = sample_traced(pipe, neurons, by)
    assert changed.dtype == dtype
    assert_close(changed, sample_hooked(pipe, neurons, by))


def test_patching_by_nnsight_equals_hooks(pipe):
    neurons = some_neurons(pipe)
    with record_neurons(pipe, neurons) as recording:
        plain = sample(pipe)
    with patch(pipe, recording):
        other = sample(pipe, "x")
    assert_close(patch_traced(pipe, recording, **call_arguments("x")).images, other)
    assert torch.equal(patch_traced(pipe, recording, **call_arguments()).images, plain)
    assert not torch.equal(other, sample(pipe, "x"))


def test_ablating_no_neurons_is_bit_identical(pipe):
    plain = sample(pipe)
    assert torch.equal(sample_traced(pipe, NeuronSet({}), "zero"), plain)
    assert torch.equal(
        sample_traced(pipe, NeuronSet({s.name: () for s in find_sites(pipe, SITE_KINDS)}), "zero"), plain
    )


def test_pipeline_is_unchanged_afterwards(pipe):
    plain = sample(pipe)
    neurons = some_neurons(pipe)
    before, hooks_before = attributes(pipe), n_hooks(pipe)

    def fail(*_):
        assert attributes(pipe) != before
        raise ArithmeticError

    sample_traced(pipe, neurons, "unconditional")
    assert attributes(pipe) == before
    with pytest.raises(ArithmeticError):
        sample_traced(pipe, neurons, "unconditional", callback_on_step_end=fail)
    assert attributes(pipe) == before
    with pytest.raises(ValueError, match="needs guidance"):
        sample_traced(pipe, neurons, "unconditional", guidance_scale=1.0)
    assert attributes(pipe) == before
    assert n_hooks(pipe) == hooks_before
    assert torch.equal(sample(pipe), plain)


def test_a_modules_own_forward_runs_and_is_restored(toy_pipe):
    pipe = build_toy_pipe()
    neurons = some_neurons(pipe, ["feed_forward"])
    module = next(iter(site_modules(pipe, find_sites(pipe, ["feed_forward"])).values()))
    inner = type(module).forward
    module.forward = own = lambda x: 2 * inner(module, x)
    expected = sample_hooked(pipe, neurons, "unconditional")
    assert_close(sample_traced(pipe, neurons, "unconditional"), expected)
    assert module.forward is own
    assert not torch.equal(expected, sample_hooked(toy_pipe, neurons, "unconditional"))


def test_the_users_own_nnsight_wrapper_still_works():
    from nnsight import NNsight

    pipe = build_toy_pipe()
    wrapped = NNsight(pipe.unet)
    neurons = some_neurons(pipe)
    assert_close(sample_traced(pipe, neurons, "zero"), sample_hooked(build_toy_pipe(), neurons, "zero"))
    latents, embeds = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 32)
    with torch.no_grad(), wrapped.trace(latents, 1, encoder_hidden_states=embeds):
        traced = wrapped.mid_block.output.save()
    with torch.no_grad(), capture({"mid": pipe.unet.mid_block}) as plain:
        pipe.unet(latents, 1, encoder_hidden_states=embeds)
    assert torch.equal(traced, plain["mid"][0])


def test_no_warning_is_raised(toy_pipe):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        sample_traced(toy_pipe, some_neurons(toy_pipe), "zero")


def test_invalid_edit_is_refused(toy_pipe):
    neurons = some_neurons(toy_pipe, ["text_mlp", "feed_forward"])
    with pytest.raises(ValueError, match="has no means"):
        sample_traced(toy_pipe, NeuronSet(neurons.neurons), "mean")
    with pytest.raises(ValueError, match=r"no site unet\.x"):
        sample_traced(toy_pipe, NeuronSet({"unet.x": ()}), "zero")
    embeds = torch.zeros(1, 32, 32)
    arguments = {"prompt": None, "prompt_embeds": embeds, "negative_prompt_embeds": embeds}
    with pytest.raises(SiteDidNotFire, match=r"2 of 6 sites did not fire"):
        sample_traced(toy_pipe, neurons, "zero", **arguments)
    with record_neurons(toy_pipe, neurons) as recording:
        sample(toy_pipe)
    with pytest.raises(ValueError, match="fired 1 times; call the pipeline once"):
        patch_traced(toy_pipe, recording, **call_arguments(num_inference_steps=1))


def test_nnsight_is_imported_by_the_first_traced_run_and_nothing_else():
    code = "import flashbulb.hooks.trace, flashbulb.audit.stages.audit, sys; assert 'nnsight' not in sys.modules"
    ended = fork_python(code).wait()
    assert ended.code == 0, ended.err
