"""Neurons recorded in one run and played into another do there what they did."""

import pytest
import torch

from hooks import (
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


def recorded(pipe, neurons, *prompts, **changes):
    with record_neurons(pipe, neurons) as recording:
        sample(pipe, *prompts, **changes)
    return recording


def patched(pipe, recording, *prompts, **changes):
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
        whole = (read | written)[site.name]
        expected = whole[:1] if site.kind == "text_mlp" else [activation[-2:] for activation in whole]
        assert len(recording.firings[site.name]) == len(expected) == (1 if site.kind == "text_mlp" else N_STEPS)
        for firing, activation in zip(recording.firings[site.name], expected, strict=True):
            assert torch.equal(firing, activation[..., list(neurons.neurons[site.name])])


def test_recording_holds_no_more_than_it_recorded(pipe):
    for firings in recorded(pipe, some_neurons(pipe)).firings.values():
        for firing in firings:
            assert not firing.requires_grad
            assert firing.untyped_storage().nbytes() == firing.numel() * firing.element_size()


@pytest.mark.parametrize("guidance_scale", [7.5, 1.0])
def test_own_recording_changes_no_bit(pipe, guidance_scale):
    prompts = ["a red star", OTHER]
    recording = recorded(pipe, some_neurons(pipe), prompts, guidance_scale=guidance_scale)
    plain = sample(pipe, prompts, guidance_scale=guidance_scale)
    assert torch.equal(patched(pipe, recording, prompts, guidance_scale=guidance_scale), plain)


def test_all_keys_and_values_carry_the_prompt_over(toy_pipe):
    everything = some_neurons(toy_pipe, ["cross_k", "cross_v"], share=1)
    recording = recorded(toy_pipe, everything, OTHER)
    assert torch.equal(patched(toy_pipe, recording, "a red star"), sample(toy_pipe, OTHER))
    assert not torch.equal(sample(toy_pipe, "a red star"), sample(toy_pipe, OTHER))


def test_the_last_text_layer_carries_nothing_but_itself(toy_pipe):
    """What is patched equals the recording; what comes before it stays the run's own."""
    first, last = find_sites(toy_pipe, ["text_mlp"])
    neurons = NeuronSet({last.name: tuple(range(last.n_neurons))})
    both = NeuronSet({site.name: tuple(range(site.n_neurons)) for site in (first, last)})
    recording = recorded(toy_pipe, neurons, OTHER)
    own = recorded(toy_pipe, both, "a red star")
    with patch(toy_pipe, recording):
        seen = recorded(toy_pipe, both, "a red star")
    assert torch.equal(seen.firings[last.name][0], recording.firings[last.name][0])
    assert torch.equal(seen.firings[first.name][0], own.firings[first.name][0])


def test_the_unconditional_half_stays(pipe):
    site = find_sites(pipe, ["feed_forward"])[0]
    neurons = NeuronSet({site.name: tuple(range(site.n_neurons))})
    module = site_modules(pipe, [site])
    with capture(module, "input") as plain:
        sample(pipe, num_inference_steps=1)
    recording = recorded(pipe, neurons, OTHER, num_inference_steps=1)
    with patch(pipe, recording), capture(module, "input") as seen:
        sample(pipe, num_inference_steps=1)
    assert torch.equal(seen[site.name][0][:1], plain[site.name][0][:1])
    assert torch.equal(seen[site.name][0][1:], recording.firings[site.name][0])


def test_guided_response_goes_into_an_unguided_run(toy_pipe):
    everything = some_neurons(toy_pipe, ["cross_k", "cross_v"], share=1)
    recording = recorded(toy_pipe, everything, OTHER)
    unguided = patched(toy_pipe, recording, "a red star", guidance_scale=1.0)
    torch.testing.assert_close(unguided, sample(toy_pipe, OTHER, guidance_scale=1.0), rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_carried_bit_for_bit(dtype):
    pipe = build_toy_pipe().to(dtype)
    recording = recorded(pipe, some_neurons(pipe))
    assert {firing.dtype for firings in recording.firings.values() for firing in firings} == {dtype}
    assert torch.equal(patched(pipe, recording), sample(pipe))


def test_a_run_of_another_shape_is_refused(toy_pipe):
    recording = recorded(toy_pipe, some_neurons(toy_pipe, ["feed_forward"]))
    for changes, message in [
        ({"num_inference_steps": N_STEPS + 1}, f"recorded {N_STEPS} times and fires again; call the pipeline once"),
        ({"num_inference_steps": N_STEPS - 1}, f"recorded {N_STEPS} times and fired {N_STEPS - 1} times"),
        ({"num_images_per_prompt": 2}, r"recorded as .* = \(1, 16, \d+\), here it is \(2, 16, "),
        ({"height": 32, "width": 16}, r"= \(1, 16, \d+\), here it is \(1, 32, "),
    ]:
        with pytest.raises(ValueError, match=message):
            patched(toy_pipe, recording, **changes)
        assert n_hooks(toy_pipe) == 0


def test_pipeline_that_is_not_called_is_an_error(toy_pipe):
    neurons = some_neurons(toy_pipe, ["text_mlp"])
    with pytest.raises(SiteDidNotFire), record_neurons(toy_pipe, neurons):
        pass
    recording = recorded(toy_pipe, neurons)
    with pytest.raises(SiteDidNotFire), patch(toy_pipe, recording):
        pass


def test_hooks_are_gone_after_an_error(toy_pipe):
    neurons = some_neurons(toy_pipe)
    recording = recorded(toy_pipe, neurons)

    def fail():
        assert n_hooks(toy_pipe) > 0
        raise ArithmeticError

    for context in (lambda: record_neurons(toy_pipe, neurons), lambda: patch(toy_pipe, recording)):
        with pytest.raises(ArithmeticError), context():
            fail()
        assert n_hooks(toy_pipe) == 0


def test_a_recorder_inside_an_ablation_sees_what_was_put_in(toy_pipe):
    sites = find_sites(toy_pipe, SITE_KINDS)
    neurons = NeuronSet({site.name: (1, 2) for site in sites})
    with ablate(toy_pipe, neurons, "zero"):
        recording = recorded(toy_pipe, neurons)
    assert all(firing.eq(0).all() for firings in recording.firings.values() for firing in firings)
