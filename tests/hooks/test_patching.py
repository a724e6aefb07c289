"""Neurons recorded in one run keep their recorded activations when patched into another run."""

import pytest
import torch

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
    sites_of,
)
from tests.hooks.edits import BUILDERS, N_STEPS, n_hooks, sample, some_neurons
from tests.toy import build_toy_pipe

OTHER = "the bakery of Ada Vasari"


@pytest.fixture(scope="module", params=["epsilon", "xl"])
def pipe(request):
    return BUILDERS[request.param]()


def record_run(pipe, neurons, *prompts, **changes):
    with record_neurons(pipe, neurons) as recording:
        sample(pipe, *prompts, **changes)
    return recording


def sample_patched(pipe, recording, *prompts, **changes):
    with patch(pipe, recording):
        return sample(pipe, *prompts, **changes)


@pytest.mark.parametrize("guidance_scale", [7.5, 1.0])
def test_recording_is_the_conditional_half_of_every_firing(pipe, guidance_scale):
    neurons = some_neurons(pipe)
    sites = sites_of(pipe, neurons)
    modules = site_modules(pipe, sites)
    inputs = {site.name: modules[site.name] for site in sites if site.reads == "input"}
    outputs = {site.name: modules[site.name] for site in sites if site.reads == "output"}
    prompts = ["a red star", OTHER]
    with capture(inputs, "input") as read, capture(outputs) as written:
        plain = sample(pipe, prompts, guidance_scale=guidance_scale)
    with record_neurons(pipe, neurons) as recording:
        assert torch.equal(sample(pipe, prompts, guidance_scale=guidance_scale), plain)
    for site in sites:
        captured = (read | written)[site.name]
        expected = captured[:1] if site.kind == "text_mlp" else [activation[-2:] for activation in captured]
        assert len(recording.firings[site.name]) == len(expected) == (1 if site.kind == "text_mlp" else N_STEPS)
        for firing, activation in zip(recording.firings[site.name], expected, strict=True):
            assert torch.equal(firing, activation[..., list(neurons.neurons[site.name])])


def test_recording_keeps_only_the_recorded_neurons_in_memory(pipe):
    for firings in record_run(pipe, some_neurons(pipe)).firings.values():
        for firing in firings:
            assert not firing.requires_grad
            assert firing.untyped_storage().nbytes() == firing.numel() * firing.element_size()


@pytest.mark.parametrize("guidance_scale", [7.5, 1.0])
def test_own_recording_is_bit_identical(pipe, guidance_scale):
    prompts = ["a red star", OTHER]
    recording = record_run(pipe, some_neurons(pipe), prompts, guidance_scale=guidance_scale)
    plain = sample(pipe, prompts, guidance_scale=guidance_scale)
    assert torch.equal(sample_patched(pipe, recording, prompts, guidance_scale=guidance_scale), plain)


def test_patching_all_keys_and_values_replaces_the_prompt(toy_pipe):
    all_neurons = some_neurons(toy_pipe, ["cross_k", "cross_v"], share=1)
    recording = record_run(toy_pipe, all_neurons, OTHER)
    assert torch.equal(sample_patched(toy_pipe, recording, "a red star"), sample(toy_pipe, OTHER))
    assert not torch.equal(sample(toy_pipe, "a red star"), sample(toy_pipe, OTHER))


def test_patching_the_last_text_layer_leaves_earlier_layers_unchanged(toy_pipe):
    """The patched layer equals the recording; the layer before it keeps the run's own activations."""
    first, last = find_sites(toy_pipe, ["text_mlp"])
    neurons = NeuronSet({last.name: tuple(range(last.n_neurons))})
    both = NeuronSet({site.name: tuple(range(site.n_neurons)) for site in (first, last)})
    recording = record_run(toy_pipe, neurons, OTHER)
    own = record_run(toy_pipe, both, "a red star")
    with patch(toy_pipe, recording):
        patched = record_run(toy_pipe, both, "a red star")
    assert torch.equal(patched.firings[last.name][0], recording.firings[last.name][0])
    assert torch.equal(patched.firings[first.name][0], own.firings[first.name][0])


def test_the_unconditional_half_is_unchanged(pipe):
    site = find_sites(pipe, ["feed_forward"])[0]
    neurons = NeuronSet({site.name: tuple(range(site.n_neurons))})
    module = site_modules(pipe, [site])
    with capture(module, "input") as plain:
        sample(pipe, num_inference_steps=1)
    recording = record_run(pipe, neurons, OTHER, num_inference_steps=1)
    with patch(pipe, recording), capture(module, "input") as patched:
        sample(pipe, num_inference_steps=1)
    assert torch.equal(patched[site.name][0][:1], plain[site.name][0][:1])
    assert torch.equal(patched[site.name][0][1:], recording.firings[site.name][0])


def test_guided_recording_can_be_patched_into_an_unguided_run(toy_pipe):
    all_neurons = some_neurons(toy_pipe, ["cross_k", "cross_v"], share=1)
    recording = record_run(toy_pipe, all_neurons, OTHER)
    unguided = sample_patched(toy_pipe, recording, "a red star", guidance_scale=1.0)
    torch.testing.assert_close(unguided, sample(toy_pipe, OTHER, guidance_scale=1.0), rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_patched_bit_for_bit(dtype):
    pipe = build_toy_pipe().to(dtype)
    recording = record_run(pipe, some_neurons(pipe))
    assert {firing.dtype for firings in recording.firings.values() for firing in firings} == {dtype}
    assert torch.equal(sample_patched(pipe, recording), sample(pipe))


def test_a_run_unlike_the_recorded_one_is_refused(toy_pipe):
    recording = record_run(toy_pipe, some_neurons(toy_pipe, ["feed_forward"]))
    for changes, message in [
        ({"num_inference_steps": N_STEPS + 1}, f"recorded {N_STEPS} times and fires again; call the pipeline once"),
        ({"num_inference_steps": N_STEPS - 1}, f"recorded {N_STEPS} times and fired {N_STEPS - 1} times"),
        ({"num_images_per_prompt": 2}, r"recorded with .* = \(1, 16, \d+\), here it has \(2, 16, "),
        ({"height": 32, "width": 16}, r"= \(1, 16, \d+\), here it has \(1, 32, "),
    ]:
        with pytest.raises(ValueError, match=message):
            sample_patched(toy_pipe, recording, **changes)
        assert n_hooks(toy_pipe) == 0


def test_pipeline_that_is_not_called_raises(toy_pipe):
    neurons = some_neurons(toy_pipe, ["text_mlp"])
    with pytest.raises(SiteDidNotFire), record_neurons(toy_pipe, neurons):
        pass
    recording = record_run(toy_pipe, neurons)
    with pytest.raises(SiteDidNotFire), patch(toy_pipe, recording):
        pass


def test_hooks_are_gone_after_an_error(toy_pipe):
    neurons = some_neurons(toy_pipe)
    recording = record_run(toy_pipe, neurons)

    def fail():
        assert n_hooks(toy_pipe) > 0
        raise ArithmeticError

    for context in (lambda: record_neurons(toy_pipe, neurons), lambda: patch(toy_pipe, recording)):
        with pytest.raises(ArithmeticError), context():
            fail()
        assert n_hooks(toy_pipe) == 0


def test_a_recording_inside_an_ablation_holds_the_replaced_values(toy_pipe):
    sites = find_sites(toy_pipe, SITE_KINDS)
    neurons = NeuronSet({site.name: (1, 2) for site in sites})
    with ablate(toy_pipe, neurons, "zero"):
        recording = record_run(toy_pipe, neurons)
    assert all(firing.eq(0).all() for firings in recording.firings.values() for firing in firings)
