"""Recovery from an ablated model uses the prompt's own noise, costs what is stated and leaves no hook."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flashbulb.audit.localize.effects import count_replicating
from flashbulb.audit.localize.recovery import ablated_alone, count_recovered_again
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.pull.pulling import ascend_towards, sample_pulled
from flashbulb.hooks import NeuronSet, ablate, find_sites
from tests.audit.counting import counted_latents
from tests.audit.localize.memory_examples import PROMPT, RECOVERY, SAMPLING
from tests.hooks.edits import n_hooks, some_neurons
from tests.tolerances import ARITHMETIC
from tests.toy import build_toy_pipe

MEMORY = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def denoiser(request):
    return open_denoiser(build_toy_pipe(prediction_type=request.param))


def expected_evaluations(denoiser, halves):
    samples = SAMPLING.evaluations(denoiser)
    return halves * (RECOVERY.evaluations(denoiser) - samples) + samples


def noise_by_hand(denoiser, kind, latents):
    """Return the prompt's noise with all activations of a kind replaced by the empty prompt's, with separate hooks."""
    conditioning, empty = (denoiser.encode([text]).conditioning for text in (PROMPT, ""))
    empty_activations, handles = {}, []

    def keep_or_replace(name, activation):
        return empty_activations.setdefault(name, activation)

    for site in find_sites(denoiser.pipe, [kind]):
        module, name = denoiser.pipe.unet.get_submodule(site.module_path), site.name
        if site.reads == "input":
            handles.append(module.register_forward_pre_hook(lambda _m, args, n=name: (keep_or_replace(n, args[0]),)))
        else:
            handles.append(module.register_forward_hook(lambda _m, _a, out, n=name: keep_or_replace(n, out)))
    denoiser.predict(latents, 981, empty)
    noise = denoiser.predict(latents, 981, conditioning).noise
    for handle in handles:
        handle.remove()
    return noise


@pytest.mark.parametrize("kind", ["cross_v", "feed_forward"])
def test_guided_noise_is_ablated_by_the_empty_prompts_activations(denoiser, kind):
    neurons = some_neurons(denoiser.pipe, [kind], share=1)
    latents, conditioning = denoiser.initial_latents(0, range(1)), denoiser.encode([PROMPT]).conditioning
    with torch.no_grad():
        with denoiser.guided(), ablate(denoiser.pipe, neurons, "unconditional", is_guided=True):
            noise = denoiser.predict(latents, 981, conditioning).noise
        torch.testing.assert_close(noise, noise_by_hand(denoiser, kind, latents), rtol=0, atol=ARITHMETIC)
        plain = denoiser.predict(latents, 981, conditioning).noise
    assert (noise - plain).abs().max() > 100 * ARITHMETIC


@pytest.mark.parametrize(
    ("kind", "by", "halves"),
    [
        ("text_mlp", "unconditional", 2),
        ("text_mlp", "zero", 1),
        ("cross_v", "mean", 1),
        ("cross_v", "unconditional", 1),
        ("cross_out", "unconditional", 2),
    ],
)
def test_the_cost_is_known_beforehand_and_no_hook_is_left(denoiser, kind, by, halves):
    neurons, spent = some_neurons(denoiser.pipe, [kind]), denoiser.evaluations
    n = count_recovered_again(denoiser, PROMPT, MEMORY, neurons, by, RECOVERY)
    assert denoiser.evaluations - spent == expected_evaluations(denoiser, halves)
    assert 0 <= n <= SAMPLING.n_samples
    assert n_hooks(denoiser.pipe) == 0
    parameters = [p for part in (denoiser.pipe.unet, denoiser.pipe.text_encoder) for p in part.parameters()]
    assert all(p.requires_grad and p.grad is None for p in parameters)


@pytest.mark.parametrize(("kind", "halves"), [("cross_v", 1), ("cross_out", 2)])
def test_the_stated_cost_is_the_unets_forward_passes_and_two_for_each_backward_pass(denoiser, kind, halves):
    neurons = some_neurons(denoiser.pipe, [kind])
    with counted_latents() as count:
        count_recovered_again(denoiser, PROMPT, MEMORY, neurons, "unconditional", RECOVERY)
    backward = 2 * halves * RECOVERY.n_steps
    assert count.n_latents + backward == expected_evaluations(denoiser, halves)


def test_a_prompts_own_half_is_ablated_as_it_is_in_a_guided_batch(denoiser):
    neurons, conditioning = some_neurons(denoiser.pipe, ["cross_v"]), denoiser.encode([PROMPT]).conditioning
    latents = denoiser.initial_latents(0, range(2))
    with torch.no_grad():
        with denoiser.guided(), denoiser.ablated(neurons, "unconditional", is_guided=True):
            guided = denoiser.predict(latents, 981, conditioning.repeat(2)).noise
        with ablated_alone(denoiser, neurons, "unconditional"):
            alone = denoiser.predict(latents, 981, conditioning.repeat(2)).noise
        plain = denoiser.predict(latents, 981, conditioning.repeat(2)).noise
    torch.testing.assert_close(alone, guided, rtol=0, atol=ARITHMETIC)
    assert (alone - plain).abs().max() > 100 * ARITHMETIC


def test_an_interruption_leaves_no_hook(denoiser):
    with counted_latents(stop_after=2), pytest.raises(KeyboardInterrupt):
        count_recovered_again(denoiser, PROMPT, MEMORY, some_neurons(denoiser.pipe), "unconditional", RECOVERY)
    assert n_hooks(denoiser.pipe) == 0
    assert all(p.requires_grad for p in denoiser.pipe.unet.parameters())


def test_without_ablation_it_equals_a_pull_from_the_prompt(denoiser):
    recovery = replace(RECOVERY, n_steps=4)

    def recover_by_hand(memory):
        found = ascend_towards(denoiser, memory[None], [PROMPT], recovery, start=PROMPT)
        return sample_pulled(denoiser, found, [PROMPT], recovery)[0]

    memory = recover_by_hand(MEMORY)[0]  # recovered from noise, so recovery of this image ends near it
    n_recovered_again = count_recovered_again(denoiser, PROMPT, memory, NeuronSet({}), "unconditional", recovery)
    assert n_recovered_again == count_replicating(recover_by_hand(memory), memory) >= 1
