"""Ablation changes the selected neurons in the response to the prompt, nothing else, and only while it is open."""

import pytest
import torch
from diffusers import StableDiffusionPAGPipeline

from flashbulb.hooks import SITE_KINDS, NeuronSet, SiteDidNotFire, ablate, find_sites, site_modules
from flashbulb.hooks.guidance import GuidanceLayout
from tests.cases import each_with_one, slow_unless_in
from tests.hooks.edits import BUILDERS, PROMPT, edit_by_hand_, n_hooks, sample, some_neurons
from tests.tolerances import ARITHMETIC
from tests.toy import build_toy_pipe
from tests.toy_transformers import build_toy_flux_pipe, build_toy_sd3_pipe

BYS = ("unconditional", "mean", "zero")


@pytest.fixture(scope="module", params=slow_unless_in(["epsilon", "xl"], BUILDERS))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def pipe(family):
    return BUILDERS[family]()


@pytest.fixture(scope="module")
def precise(family):
    """The pipeline in float64, in which other ways to compute the same differ by far less than an edit changes."""
    return BUILDERS[family]().to(torch.float64)


def assert_close(actual, expected, atol=ARITHMETIC):
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def sample_ablated(pipe, neurons, by, prompts=PROMPT, **changes):
    with ablate(pipe, neurons, by):
        return sample(pipe, prompts, **changes)


@pytest.mark.parametrize(("kind", "by"), each_with_one(SITE_KINDS, BYS))
def test_guided_ablation_equals_modules_that_change_neurons_one_by_one(pipe, family, kind, by):
    neurons = some_neurons(pipe, [kind], share=11)
    expected = sample(edit_by_hand_(BUILDERS[family](), neurons, by))
    assert_close(sample_ablated(pipe, neurons, by), expected)
    assert (expected - sample(pipe)).abs().max() > 1e-3


@pytest.mark.parametrize("by", ["mean", "zero"])
def test_unguided_ablation_edits_the_complete_batch(pipe, family, by):
    neurons = some_neurons(pipe)
    expected = sample(edit_by_hand_(BUILDERS[family](), neurons, by, guided=False), guidance_scale=1.0)
    assert_close(sample_ablated(pipe, neurons, by, guidance_scale=1.0), expected)


def test_zero_equals_weights_that_ignore_the_neurons(family, precise):
    """Without guidance the edit equals a change of weights: no column reads the neuron, or no row writes it."""
    cut = BUILDERS[family]().to(torch.float64)
    neurons = some_neurons(precise)
    sites = find_sites(cut, SITE_KINDS)
    for site, module in zip(sites, site_modules(cut, sites).values(), strict=True):
        weight = module.weight.data if site.reads == "output" else module.weight.data.T
        weight[list(neurons.neurons[site.name])] = 0
    expected = sample(cut, guidance_scale=1.0)
    assert_close(sample_ablated(precise, neurons, "zero", guidance_scale=1.0), expected)


def test_ablating_all_keys_and_values_removes_the_prompt(toy_pipe):
    neurons = some_neurons(toy_pipe, ["cross_k", "cross_v"], share=1)
    ablated = sample_ablated(toy_pipe, neurons, "unconditional")
    assert_close(ablated, sample(toy_pipe, ""))
    assert (ablated - sample(toy_pipe)).abs().max() > 0.1


def test_empty_prompt_has_no_response_to_ablate(toy_pipe):
    neurons = some_neurons(toy_pipe, ["cross_k", "cross_v"])
    assert_close(sample_ablated(toy_pipe, neurons, "unconditional", ""), sample(toy_pipe, ""))
    text = some_neurons(toy_pipe, ["text_mlp"])
    for by in BYS:
        assert torch.equal(sample_ablated(toy_pipe, text, by, ""), sample(toy_pipe, ""))


@pytest.mark.parametrize("by", BYS)
def test_batch_of_two_equals_two_single_runs(precise, by):
    neurons, prompts = some_neurons(precise), ["a red star", ""]
    together = sample_ablated(precise, neurons, by, prompts)
    for row, prompt in enumerate(prompts):
        alone = sample_ablated(precise, neurons, by, prompt, generator=torch.Generator().manual_seed(row))
        assert_close(together[row], alone[0])


def test_several_images_of_a_prompt_equal_a_batch_of_it(precise):
    neurons = some_neurons(precise)
    images = sample_ablated(precise, neurons, "unconditional", num_images_per_prompt=2)
    assert_close(images, sample_ablated(precise, neurons, "unconditional", [PROMPT, PROMPT]))


@pytest.mark.parametrize(("dtype", "by"), each_with_one([torch.bfloat16, torch.float16], BYS))
def test_half_precision_is_kept(dtype, by):
    pipe = build_toy_pipe().to(dtype)
    neurons = some_neurons(pipe, share=17)
    changed = sample_ablated(pipe, neurons, by)
    assert changed.dtype == dtype
    assert_close(changed, sample(edit_by_hand_(build_toy_pipe().to(dtype), neurons, by)))


@pytest.mark.parametrize("by", BYS)
def test_ablating_no_neurons_is_bit_identical(pipe, by):
    plain = sample(pipe)
    assert torch.equal(sample_ablated(pipe, NeuronSet({}, {}), by), plain)
    no_neurons = {site.name: () for site in find_sites(pipe, SITE_KINDS)}
    assert torch.equal(sample_ablated(pipe, NeuronSet(no_neurons, no_neurons), by), plain)


def test_every_call_inside_the_context_is_edited(toy_pipe):
    neurons = some_neurons(toy_pipe)
    with ablate(toy_pipe, neurons, "unconditional"):
        first, second = sample(toy_pipe), sample(toy_pipe, "x")
    assert torch.equal(first, sample_ablated(toy_pipe, neurons, "unconditional"))
    assert torch.equal(second, sample_ablated(toy_pipe, neurons, "unconditional", "x"))


def test_negative_prompt_with_words_is_edited_like_a_prompt(toy_pipe):
    neurons = some_neurons(toy_pipe, ["text_mlp"])
    device_and_count = {"device": "cpu", "num_images_per_prompt": 1}
    with ablate(toy_pipe, neurons, "zero"), torch.no_grad():
        prompt, default_negative = toy_pipe.encode_prompt("dog", do_classifier_free_guidance=True, **device_and_count)
        _, negative = toy_pipe.encode_prompt(
            "x", do_classifier_free_guidance=True, negative_prompt="dog", **device_and_count
        )
    assert torch.equal(negative, prompt)
    assert torch.equal(default_negative, toy_pipe.encode_prompt("", "cpu", 1, False)[0])


def test_hooks_are_gone_afterwards_and_after_an_error(pipe):
    plain = sample(pipe)
    before = n_hooks(pipe)  # transformers sets its own hooks for hidden states
    neurons = some_neurons(pipe)

    def fail(*_):
        assert n_hooks(pipe) >= before + len(neurons.neurons)
        raise ArithmeticError

    sample_ablated(pipe, neurons, "unconditional")
    assert n_hooks(pipe) == before
    with pytest.raises(ArithmeticError):
        sample_ablated(pipe, neurons, "unconditional", callback_on_step_end=fail)
    assert n_hooks(pipe) == before
    with pytest.raises(ValueError, match="needs guidance"):
        sample_ablated(pipe, neurons, "unconditional", guidance_scale=1.0)
    assert n_hooks(pipe) == before
    assert torch.equal(sample(pipe), plain)


def test_unconditional_without_guidance_is_refused_with_a_solution(toy_pipe):
    neurons = some_neurons(toy_pipe, ["feed_forward"])
    with pytest.raises(ValueError, match=r'guidance_scale above 1, or ablate by "mean" or "zero"'):
        sample_ablated(toy_pipe, neurons, "unconditional", guidance_scale=1.0)


def test_invalid_ablation_is_refused_before_the_run():
    pipe = build_toy_pipe()
    neurons = some_neurons(pipe)
    refusals = [
        (NeuronSet(neurons.neurons), "mean", "has no means"),
        (neurons, "median", "cannot ablate by 'median'"),
        (NeuronSet({"unet.x": (1,)}), "zero", r"no site unet\.x"),
    ]
    for neuron_set, by, message in refusals:
        with pytest.raises(ValueError, match=message), ablate(pipe, neuron_set, by):
            pytest.fail("opened")
    assert n_hooks(pipe) == 0


def test_unet_called_without_its_pipeline_is_refused():
    pipe = build_toy_pipe()
    neurons = some_neurons(pipe, ["feed_forward"])
    with pytest.raises(ValueError, match="has not been called"), ablate(pipe, neurons, "zero"):
        pipe.unet(torch.zeros(2, 4, 8, 8), 1, encoder_hidden_states=torch.zeros(2, 3, 32))


SIZE = {"height": 32, "width": 32}


def test_text_encoders_of_a_transformer_are_edited_and_the_empty_prompt_is_not():
    pipe = build_toy_sd3_pipe(with_t5=True)
    neurons = some_neurons(pipe, ["text_mlp"])
    assert {name.split(".")[0] for name in neurons.neurons} == {"text_encoder", "text_encoder_2", "text_encoder_3"}
    for prompt, is_changed in ((PROMPT, True), ("", False)):
        plain = sample(pipe, prompt, **SIZE)
        with ablate(pipe, neurons, "mean", layout=GuidanceLayout.UNCONDITIONAL_FIRST):
            assert torch.equal(sample(pipe, prompt, **SIZE), plain) is not is_changed
        with ablate(pipe, neurons, "unconditional", layout=GuidanceLayout.UNCONDITIONAL_FIRST):
            assert torch.equal(sample(pipe, prompt, **SIZE), plain) is not is_changed


def test_pipeline_that_does_not_say_if_it_is_guided_is_told():
    pipe = build_toy_flux_pipe()
    neurons, layout = some_neurons(pipe, ["text_mlp", "feed_forward"]), GuidanceLayout.SEPARATE_CALLS
    plain = sample(pipe, **SIZE)
    with pytest.raises(ValueError, match="pass is_guided"), ablate(pipe, neurons, "zero", layout=layout):
        sample(pipe, **SIZE)
    with ablate(pipe, neurons, "zero", is_guided=False, layout=layout):
        assert not torch.equal(sample(pipe, **SIZE), plain)


def test_site_that_never_fires_is_an_error(toy_pipe):
    neurons = some_neurons(toy_pipe, ["text_mlp", "feed_forward"])
    embeds = torch.zeros(1, 32, 32)
    with pytest.raises(SiteDidNotFire, match=r"2 of 6 sites did not fire.*prompt_embeds"):
        sample_ablated(toy_pipe, neurons, "zero", prompt=None, prompt_embeds=embeds, negative_prompt_embeds=embeds)
    assert n_hooks(toy_pipe) == 0


def test_guided_batch_is_unconditional_then_conditional():
    rows = torch.arange(4).reshape(4, 1, 1)
    unconditional, conditional = GuidanceLayout.UNCONDITIONAL_FIRST.split(rows, True)
    assert (unconditional.flatten().tolist(), conditional.flatten().tolist()) == ([0, 1], [2, 3])
    unconditional, conditional = GuidanceLayout.UNCONDITIONAL_FIRST.split(rows, False)
    assert (len(unconditional), len(conditional)) == (0, 4)
    with pytest.raises(ValueError, match="has 3 rows"):
        GuidanceLayout.UNCONDITIONAL_FIRST.split(rows[:3], True)


def test_perturbed_rows_are_not_taken_for_a_half_of_the_batch():
    """Two prompts make a batch of six rows, whose second half holds one prompt and the perturbed rows of both."""
    plain, prompts = build_toy_pipe(), [PROMPT, PROMPT]
    parts = {name: part for name, part in plain.components.items() if name != "image_encoder"}
    pipe = StableDiffusionPAGPipeline(**parts, pag_applied_layers=["mid"], requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    neurons = some_neurons(pipe, ["feed_forward"])
    with ablate(pipe, neurons, "zero"):
        ablated = sample(pipe, prompts, pag_scale=0.0)
    assert_close(ablated, sample_ablated(plain, neurons, "zero", prompts))
    with pytest.raises(ValueError, match="pag_scale=0"), ablate(pipe, neurons, "zero"):
        sample(pipe, prompts, pag_scale=3.0)


def test_a_pipeline_of_more_parts_is_refused():
    pipe = build_toy_pipe()
    pipe.__class__ = type("StableDiffusionInstructPix2PixPipeline", (type(pipe),), {})
    with pytest.raises(ValueError, match="more than a prompt"), ablate(pipe, some_neurons(pipe), "zero"):
        pass
