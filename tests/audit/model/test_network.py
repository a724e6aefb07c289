"""The network says where its neurons are, and is left as it was after it is frozen, edited or observed."""

import pytest
import torch

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import SITE_KINDS, ablate, find_sites, patch, record_neurons, site_modules
from tests.hooks.edits import n_hooks, sample, some_neurons
from tests.toy import build_toy_pipe


@pytest.fixture
def denoiser(toy_pipe) -> Denoiser:
    return open_denoiser(toy_pipe)


def parameters_of(pipe) -> list[torch.nn.Parameter]:
    return [p for part in (pipe.unet, pipe.text_encoder, pipe.vae) for p in part.parameters()]


def test_sites_and_their_modules_are_those_of_the_pipeline(denoiser, toy_pipe):
    sites = denoiser.sites(SITE_KINDS)
    assert sites == tuple(find_sites(toy_pipe, SITE_KINDS))
    assert denoiser.modules(sites) == site_modules(toy_pipe, sites)


def test_prompt_sites_run_on_the_conditioning_alone(denoiser, toy_pipe):
    sites = denoiser.sites(["cross_k", "cross_v"])
    conditioning = denoiser.encode(["a red star"]).conditioning
    fired = {}
    handles = [
        module.register_forward_hook(lambda _m, _a, output, name=name: fired.__setitem__(name, output))
        for name, module in denoiser.modules(sites).items()
    ]
    before = denoiser.evaluations
    with torch.no_grad():
        denoiser.run_prompt_sites(sites, conditioning)
    for handle in handles:
        handle.remove()
    assert denoiser.evaluations == before
    embeds = toy_pipe.encode_prompt("a red star", "cpu", 1, False)[0]
    for name, module in site_modules(toy_pipe, sites).items():
        assert torch.equal(fired[name], module(embeds))


def test_the_last_nonlinearity_of_the_first_up_block_feeds_the_found_convolutions(denoiser, toy_pipe):
    found = denoiser.first_up_convolutions()
    assert list(found.values()) == [block.conv2 for block in toy_pipe.unet.up_blocks[0].resnets]


def test_weights_are_all_counted(denoiser, toy_pipe):
    assert denoiser.weight_bytes == 4 * sum(parameter.numel() for parameter in parameters_of(toy_pipe))


@pytest.mark.parametrize("was", [False, True])
def test_checkpointing_is_left_as_it_was(was):
    pipe = build_toy_pipe()
    if was:
        pipe.unet.enable_gradient_checkpointing()
    denoiser = open_denoiser(pipe)
    for asked in (False, True):
        with denoiser.frozen(asked):
            assert pipe.unet.is_gradient_checkpointing == (was or asked)
        assert pipe.unet.is_gradient_checkpointing == was


@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_weights_ask_for_no_gradient_while_frozen_and_as_before_after_it(ends):
    pipe = build_toy_pipe()
    parameters = parameters_of(pipe)
    for i, parameter in enumerate(parameters):
        parameter.requires_grad_(i % 3 > 0)
    try:
        with open_denoiser(pipe).frozen(checkpointing=True):
            assert not any(p.requires_grad for p in parameters)
            if ends == "with an error":
                raise KeyError
    except KeyError:
        assert ends == "with an error"
    assert [p.requires_grad for p in parameters] == [i % 3 > 0 for i in range(len(parameters))]
    assert not pipe.unet.is_gradient_checkpointing


@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
def test_edits_are_those_of_plain_hooks(denoiser, toy_pipe, guidance_scale):
    neurons, call = some_neurons(toy_pipe, ["cross_v", "text_mlp"]), {"guidance_scale": guidance_scale}
    with ablate(toy_pipe, neurons, "zero"):
        expected = sample(toy_pipe, **call)
    with denoiser.ablated(neurons, "zero"):
        assert torch.equal(sample(toy_pipe, **call), expected)
    with record_neurons(toy_pipe, neurons) as recording:
        sample(toy_pipe, "another prompt", **call)
    with denoiser.recorded(neurons) as same:
        sample(toy_pipe, "another prompt", **call)
    with patch(toy_pipe, recording):
        expected = sample(toy_pipe, **call)
    with denoiser.patched(same):
        assert torch.equal(sample(toy_pipe, **call), expected)
    assert n_hooks(toy_pipe) == 0


def test_predictions_are_observed_once_a_step(denoiser, toy_pipe):
    with denoiser.observed_predictions() as predictions:
        sample(toy_pipe)
    assert [prediction.shape for prediction in predictions] == [(2, 4, 8, 8)] * 2


def stop_at_second_step(_pipe, step, _timestep, tensors):
    if step == 1:
        raise KeyError
    return tensors


def test_evaluations_are_counted_only_while_the_context_is_open(denoiser, toy_pipe):
    before = denoiser.evaluations
    sample(toy_pipe)
    assert denoiser.evaluations == before
    with pytest.raises(KeyError), denoiser.counting():
        sample(toy_pipe, callback_on_step_end=stop_at_second_step)
    sample(toy_pipe)
    assert denoiser.evaluations == before + 2 * 2
    assert n_hooks(toy_pipe) == 0
