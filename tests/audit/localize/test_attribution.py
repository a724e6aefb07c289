"""Attributions equal a loop over points, seeds and neurons, sum to the response, and leave the model unchanged."""

from dataclasses import replace

import pytest
import torch

from flashbulb.audit.localize.attribution import AttributionPlan, Attributor
from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import SITE_KINDS, find_sites
from tests.audit.counting import counted_latents
from tests.audit.localize.attribution_by_hand import TIMESTEP, attribute_by_hand, input_ids
from tests.cases import slow_unless_in
from tests.hooks.edits import n_hooks
from tests.toy import build_toy_pipe, build_toy_xl_pipe

PLAN = AttributionPlan(run_seed=3, timestep=TIMESTEP, n_seeds=2, n_points=3, batch_size=64)
PROMPTS = ("a red star", "zzqx !!!! @@@@ ####", "жар-птица")
SAME_WITHIN = 2e-3  # of the largest attribution: float32 forward and backward passes in another order
BUILDERS = {
    "epsilon": build_toy_pipe,
    "v_prediction": lambda: build_toy_pipe(prediction_type="v_prediction", use_linear_projection=True),
    "two text encoders": build_toy_xl_pipe,
}
UNREAD = {"two text encoders": ["text_encoder.encoder.layers.1.mlp.fc2"]}
"""Sites that reach no prediction: Stable Diffusion XL reads the last layer of its second text encoder only."""


@pytest.fixture(scope="module", params=slow_unless_in(["epsilon", "two text encoders"], BUILDERS))
def family(request):
    """A pipeline and its name; tests must leave it unchanged."""
    return BUILDERS[request.param](), request.param


def build_attributor(pipe, plan=PLAN, kinds=SITE_KINDS):
    denoiser = open_denoiser(pipe)
    return Attributor(denoiser, denoiser.sites(kinds), plan)


def assert_near(values, expected):
    """Equal up to rounding, relative to the largest expected value."""
    torch.testing.assert_close(values, expected, rtol=0, atol=SAME_WITHIN * float(expected.abs().max()))


def assert_same(attribution, expected):
    """Two attributions of a prompt are equal up to rounding."""
    assert attribution.response == pytest.approx(expected.response, rel=SAME_WITHIN)
    assert_near(attribution.tokens, expected.tokens)
    for name, values in attribution.neurons.items():
        assert_near(values, expected.neurons[name])
    for name, values in attribution.positions.items():
        assert_near(values, expected.positions[name])


@pytest.mark.parametrize("prompt", PROMPTS[:2])
def test_attributions_equal_a_loop_over_points_seeds_and_neurons(family, prompt):
    pipe, kind = family
    (attribution,) = build_attributor(pipe).attribute([prompt])
    response, by_neuron, by_token = attribute_by_hand(pipe, prompt, PLAN)
    assert attribution.response == pytest.approx(response, rel=SAME_WITHIN)
    assert_near(attribution.tokens, by_token)
    assert by_token.any()
    assert [name for name, expected in by_neuron.items() if not expected.any()] == UNREAD.get(kind, [])
    sites = find_sites(pipe, SITE_KINDS)
    assert {site.kind for site in sites} == set(SITE_KINDS)
    assert attribution.neurons.keys() == by_neuron.keys()
    for site in sites:
        expected = by_neuron[site.name]  # [position, neuron]
        sums = torch.stack([expected[:, neuron].sum() for neuron in range(site.n_neurons)])
        assert_near(attribution.neurons[site.name], sums)
        assert (site.name in attribution.positions) == (site.kind in ("text_mlp", "cross_k", "cross_v"))
        if site.is_prompt_site:
            assert_near(attribution.positions[site.name], torch.stack([row.sum() for row in expected]))


@pytest.mark.parametrize("batch_size", [1, 13])
def test_prompts_do_not_depend_on_their_batch(family, batch_size):
    pipe, _ = family
    together = build_attributor(pipe).attribute(PROMPTS)
    parts = build_attributor(pipe, replace(PLAN, batch_size=batch_size)).attribute(PROMPTS)
    for attribution, expected in zip(parts, together, strict=True):
        assert_same(attribution, expected)
    (alone,) = build_attributor(pipe).attribute(PROMPTS[1:2])
    assert_same(alone, together[1])
    assert (together[0].tokens - together[1].tokens).abs().max() > 0.1 * together[0].tokens.abs().max()


def test_no_prompts_have_no_attributions(toy_pipe):
    assert build_attributor(toy_pipe).attribute([]) == []


def test_sites_of_one_kind_can_be_attributed_alone(toy_pipe):
    (all_kinds,) = build_attributor(toy_pipe).attribute(PROMPTS[:1])
    (one_kind,) = build_attributor(toy_pipe, kinds=["cross_v"]).attribute(PROMPTS[:1])
    assert set(one_kind.neurons) == {site.name for site in find_sites(toy_pipe, ["cross_v"])}
    for name, values in one_kind.neurons.items():
        assert_near(values, all_kinds.neurons[name])


@torch.no_grad()
def responses_at_start(pipe):
    """The response of each prompt with the empty prompt's token embeddings, pooled where the prompt ends."""
    denoiser, responses = open_denoiser(pipe), []
    latents = denoiser.initial_latents(PLAN.run_seed, range(PLAN.n_seeds))
    empty = denoiser.encode([""])
    without = denoiser.predict(latents, TIMESTEP, empty.conditioning.repeat(PLAN.n_seeds)).native
    for prompt in PROMPTS:
        start = denoiser.encode_from(denoiser.token_embeddings(empty), denoiser.encode([prompt]))
        difference = denoiser.predict(latents, TIMESTEP, start.repeat(PLAN.n_seeds)).native - without
        responses.append(float(difference.flatten(1).norm(dim=1).mean()))
    return responses


def test_token_attributions_approach_the_response_as_the_path_gets_finer(family):
    """The tokens account for the response minus that of where the path starts, which is 0 without pooled text."""
    pipe, kind = family
    at_start = responses_at_start(pipe)
    assert (max(at_start) > 0.01) == (kind == "two text encoders")

    def relative_errors(n_points):
        attributions = build_attributor(pipe, replace(PLAN, n_points=n_points)).attribute(PROMPTS)
        rises = [prompt.response - start for prompt, start in zip(attributions, at_start, strict=True)]
        return [abs(float(prompt.tokens.sum()) / rise - 1) for prompt, rise in zip(attributions, rises, strict=True)]

    coarse, fine = relative_errors(4), relative_errors(40)
    assert max(fine) < 0.03
    assert all(small < large for small, large in zip(fine, coarse, strict=True))


def test_the_empty_prompt_has_no_response_and_no_attribution(family):
    pipe, _ = family
    empty, prompt = build_attributor(pipe).attribute(["", PROMPTS[0]])
    assert empty.response < 1e-4 * prompt.response
    assert not empty.tokens.any()
    for name, values in empty.neurons.items():
        assert values.abs().max() <= 1e-3 * prompt.neurons[name].abs().max()
    for name, values in empty.positions.items():
        assert values.abs().max() <= 1e-3 * prompt.positions[name].abs().max()


def test_layers_that_clip_skip_leaves_out_have_no_attribution():
    denoiser = open_denoiser(build_toy_pipe(), clip_skip=1)  # transformers leaves hooks of its own behind
    used, left_out = sites = denoiser.sites(["text_mlp"])
    (attribution,) = Attributor(denoiser, sites, PLAN).attribute(["a red star"])
    assert attribution.neurons[used.name].abs().max() > 0
    assert not attribution.neurons[left_out.name].any()


def test_tokens_shared_with_the_empty_prompt_have_no_attribution(toy_pipe):
    (attribution,) = build_attributor(toy_pipe).attribute(["ab"])
    ids = [input_ids(toy_pipe.tokenizer, text)[0] for text in ("", "ab")]
    assert torch.equal(attribution.tokens != 0, ids[0] != ids[1])


@pytest.mark.parametrize("n_prompts", [1, 3])
def test_evaluations_are_the_unets_forward_passes_and_two_for_each_backward_pass(family, n_prompts):
    pipe, _ = family
    with counted_latents() as empty_count:
        attributor = build_attributor(pipe)
    assert empty_count.n_latents == attributor._denoiser.evaluations == PLAN.n_seeds
    with counted_latents() as count:
        attributor.attribute(PROMPTS[:n_prompts])
    assert count.n_latents == n_prompts * PLAN.n_seeds * PLAN.n_points
    assert attributor._denoiser.evaluations - PLAN.n_seeds == 3 * count.n_latents == n_prompts * PLAN.evaluations


@pytest.mark.parametrize("ends", ["normally", "with an interruption"])
def test_requires_grad_is_restored_and_hooks_are_gone(ends):
    pipe = build_toy_pipe()
    parameters = [p for part in (pipe.unet, pipe.text_encoder, pipe.vae) for p in part.parameters()]
    for i, parameter in enumerate(parameters):
        parameter.requires_grad_(i % 3 > 0)
    attributor = build_attributor(pipe)
    if ends == "normally":
        attributor.attribute(PROMPTS)
    else:
        with counted_latents(stop_after=0), pytest.raises(KeyboardInterrupt):
            attributor.attribute(PROMPTS)
    assert [p.requires_grad for p in parameters] == [i % 3 > 0 for i in range(len(parameters))]
    assert all(p.grad is None for p in parameters)
    assert n_hooks(pipe) == 0


def test_results_are_float32_on_the_cpu_without_a_graph(toy_pipe):
    (attribution,) = build_attributor(toy_pipe).attribute(PROMPTS[:1])
    for values in (attribution.tokens, *attribution.neurons.values(), *attribution.positions.values()):
        assert not values.requires_grad
        assert (values.dtype, values.device.type) == (torch.float32, "cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_to_single_precision(dtype):
    (half,), (single,) = (build_attributor(build_toy_pipe().to(kind)).attribute(PROMPTS[:1]) for kind in (dtype, None))
    assert half.response == pytest.approx(single.response, rel=0.05)
    for name, values in half.neurons.items():
        assert values.isfinite().all()
        assert values.dtype == torch.float32
        cosine = torch.nn.functional.cosine_similarity(values, single.neurons[name], dim=0)
        assert cosine > 0.95, name
    assert half.tokens.isfinite().all()
