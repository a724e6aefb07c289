"""Attributions equal a loop over points, seeds and neurons, add up to the response, and leave the model as it was."""

from dataclasses import replace

import pytest
import torch

from audit.denoiser import Denoiser
from audit.localize.attribution import AttributionPlan, Attributor
from hooks import SITE_KINDS, find_sites
from tests.audit.counting import counted_latents
from tests.hooks.edits import n_hooks
from tests.toy import build_toy_pipe

TIMESTEP = 981
PLAN = AttributionPlan(run_seed=3, timestep=TIMESTEP, n_seeds=2, n_points=3, batch_size=64)
PROMPTS = ("a red star", "zzqx !!!! @@@@ ####", "жар-птица")
SAME_WITHIN = 2e-3  # of the largest attribution, after a float32 forward and backward pass in another order
BUILDERS = {
    "epsilon": build_toy_pipe,
    "v_prediction": lambda: build_toy_pipe(prediction_type="v_prediction", use_linear_projection=True),
}


@pytest.fixture(scope="module", params=BUILDERS)
def family(request):
    """A pipeline and its prediction type; leave it as it was."""
    return BUILDERS[request.param](), request.param


def attributor_of(pipe, plan=PLAN, kinds=SITE_KINDS):
    return Attributor(Denoiser(pipe), find_sites(pipe, kinds), plan)


def input_ids(pipe, prompt):
    return pipe.tokenizer(
        [prompt], padding="max_length", truncation=True, max_length=pipe.tokenizer.model_max_length, return_tensors="pt"
    ).input_ids


def run_by_hand(pipe, sites, read, latents):
    """Noise for token embeddings `read` [1, position, width], and what every site did, all on the graph."""
    activations, handles = {}, []
    embedding = pipe.text_encoder.get_input_embeddings()
    handles.append(embedding.register_forward_hook(lambda *_: read))
    for site in sites:
        module = getattr(pipe, site.component).get_submodule(site.module_path)
        name = site.name
        if site.reads == "input":
            keep = module.register_forward_pre_hook(lambda _m, args, name=name: activations.update({name: args[0]}))
        else:
            keep = module.register_forward_hook(lambda _m, _a, out, name=name: activations.update({name: out}))
        handles.append(keep)
    embeds = pipe.text_encoder(input_ids(pipe, "whatever"))[0]
    output = pipe.unet(latents, TIMESTEP, encoder_hidden_states=embeds).sample
    for handle in handles:
        handle.remove()
    if pipe.scheduler.config.prediction_type == "v_prediction":
        alpha = pipe.scheduler.alphas_cumprod[TIMESTEP]
        output = alpha.sqrt() * output + (1 - alpha).sqrt() * latents
    return output, activations


def attributed_by_hand(pipe, prompt, plan):
    """Response, attribution by site [position, neuron], and by token, one point and one seed at a time."""
    sites = find_sites(pipe, SITE_KINDS)
    table = pipe.text_encoder.get_input_embeddings().weight
    empty, full = (table[input_ids(pipe, text)].detach() for text in ("", prompt))
    of_neurons = {site.name: 0.0 for site in sites}
    of_tokens, response = torch.zeros(empty.shape[1]), 0.0
    for seed in range(plan.n_seeds):
        generator = torch.Generator().manual_seed(plan.run_seed * 1_000_003 + seed)
        latents = torch.randn(1, 4, 8, 8, generator=generator)
        noise_of_empty, at_empty = run_by_hand(pipe, sites, empty, latents)
        _, at_prompt = run_by_hand(pipe, sites, full, latents)
        for point in range(1, plan.n_points + 1):
            read = (empty + point / plan.n_points * (full - empty)).requires_grad_()
            noise, here = run_by_hand(pipe, sites, read, latents)
            norm = (noise - noise_of_empty.detach()).square().sum().sqrt()
            gradients = torch.autograd.grad(norm, [*here.values(), read])
            of_read = gradients[-1]
            for name, gradient in zip(here, gradients[:-1], strict=True):
                moved = at_prompt[name].detach() - at_empty[name].detach()
                of_neurons[name] = of_neurons[name] + (moved * gradient)[0] / (plan.n_seeds * plan.n_points)
            for position in range(len(of_tokens)):
                step = full[0, position] - empty[0, position]
                of_tokens[position] += torch.dot(step, of_read[0, position]) / (plan.n_seeds * plan.n_points)
        response += float(norm.detach()) / plan.n_seeds  # the last point is the prompt
    return response, of_neurons, of_tokens


def assert_near(values, expected):
    """Equal but for rounding, next to the largest of them."""
    assert expected.any()
    torch.testing.assert_close(values, expected, rtol=0, atol=SAME_WITHIN * float(expected.abs().max()))


def assert_same(one, other):
    """Attributions of one prompt agree but for rounding."""
    assert one.response == pytest.approx(other.response, rel=SAME_WITHIN)
    assert_near(one.tokens, other.tokens)
    for name, values in one.neurons.items():
        assert_near(values, other.neurons[name])
    for name, values in one.positions.items():
        assert_near(values, other.positions[name])


@pytest.mark.parametrize("prompt", PROMPTS[:2])
def test_attributions_equal_a_loop_over_points_seeds_and_neurons(family, prompt):
    pipe, _ = family
    (attribution,) = attributor_of(pipe).attribute([prompt])
    response, of_neurons, of_tokens = attributed_by_hand(pipe, prompt, PLAN)
    assert attribution.response == pytest.approx(response, rel=SAME_WITHIN)
    assert_near(attribution.tokens, of_tokens)
    sites = find_sites(pipe, SITE_KINDS)
    assert {site.kind for site in sites} == set(SITE_KINDS)
    assert attribution.neurons.keys() == of_neurons.keys()
    for site in sites:
        expected = of_neurons[site.name]  # [position, neuron]
        one_by_one = torch.stack([expected[:, neuron].sum() for neuron in range(site.n_neurons)])
        assert_near(attribution.neurons[site.name], one_by_one)
        assert (site.name in attribution.positions) == (site.kind in ("text_mlp", "cross_k", "cross_v"))
        if site.is_prompt_site:
            assert_near(attribution.positions[site.name], torch.stack([row.sum() for row in expected]))


@pytest.mark.parametrize("batch_size", [1, 13])
def test_prompts_do_not_depend_on_their_batch(family, batch_size):
    pipe, _ = family
    whole = attributor_of(pipe).attribute(PROMPTS)
    parts = attributor_of(pipe, replace(PLAN, batch_size=batch_size)).attribute(PROMPTS)
    for one, other in zip(parts, whole, strict=True):
        assert_same(one, other)
    (alone,) = attributor_of(pipe).attribute(PROMPTS[1:2])
    assert_same(alone, whole[1])
    assert (whole[0].tokens - whole[1].tokens).abs().max() > 0.1 * whole[0].tokens.abs().max()


def test_no_prompts_have_no_attributions(toy_pipe):
    assert attributor_of(toy_pipe).attribute([]) == []


def test_levers_may_be_attributed_without_the_other_sites(toy_pipe):
    (all_kinds,) = attributor_of(toy_pipe).attribute(PROMPTS[:1])
    (one_kind,) = attributor_of(toy_pipe, kinds=["cross_v"]).attribute(PROMPTS[:1])
    assert set(one_kind.neurons) == {site.name for site in find_sites(toy_pipe, ["cross_v"])}
    for name, values in one_kind.neurons.items():
        assert_near(values, all_kinds.neurons[name])


def test_tokens_add_up_to_the_response_as_the_path_gets_finer(family):
    """The empty prompt's response is 0, so what the words bring is all of it."""
    pipe, _ = family

    def misses(n_points):
        found = attributor_of(pipe, replace(PLAN, n_points=n_points)).attribute(PROMPTS)
        return [abs(float(one.tokens.sum()) / one.response - 1) for one in found]

    coarse, fine = misses(4), misses(32)
    assert max(fine) < 0.03
    assert all(near < far for near, far in zip(fine, coarse, strict=True))


def test_the_empty_prompt_responds_to_nothing(family):
    pipe, _ = family
    empty, prompt = attributor_of(pipe).attribute(["", PROMPTS[0]])
    assert empty.response < 1e-4 * prompt.response
    assert not empty.tokens.any()
    for name, values in empty.neurons.items():
        assert values.abs().max() < 1e-3 * prompt.neurons[name].abs().max()
    for name, values in empty.positions.items():
        assert values.abs().max() < 1e-3 * prompt.positions[name].abs().max()


def test_positions_shared_with_the_empty_prompt_get_no_share_of_the_tokens(toy_pipe):
    (found,) = attributor_of(toy_pipe).attribute(["ab"])
    ids = [input_ids(toy_pipe, text)[0] for text in ("", "ab")]
    assert torch.equal(found.tokens != 0, ids[0] != ids[1])


@pytest.mark.parametrize("n_prompts", [1, 3])
def test_evaluations_are_what_the_unet_saw_and_two_for_each_backward_pass(family, n_prompts):
    pipe, _ = family
    with counted_latents() as of_empty:
        attributor = attributor_of(pipe)
    assert of_empty.n_latents == attributor._denoiser.evaluations == PLAN.n_seeds
    with counted_latents() as count:
        attributor.attribute(PROMPTS[:n_prompts])
    assert count.n_latents == n_prompts * PLAN.n_seeds * PLAN.n_points
    assert attributor._denoiser.evaluations - PLAN.n_seeds == 3 * count.n_latents == n_prompts * PLAN.evaluations


@pytest.mark.parametrize("ends", ["well", "with an interruption"])
def test_parameters_ask_for_gradients_as_before_and_no_hook_is_left(ends):
    pipe = build_toy_pipe()
    parameters = [p for part in (pipe.unet, pipe.text_encoder, pipe.vae) for p in part.parameters()]
    for i, parameter in enumerate(parameters):
        parameter.requires_grad_(i % 3 > 0)
    attributor = attributor_of(pipe)
    if ends == "well":
        attributor.attribute(PROMPTS)
    else:
        with counted_latents(stop_after=0), pytest.raises(KeyboardInterrupt):
            attributor.attribute(PROMPTS)
    assert [p.requires_grad for p in parameters] == [i % 3 > 0 for i in range(len(parameters))]
    assert all(p.grad is None for p in parameters)
    assert n_hooks(pipe) == 0


def test_results_hold_no_graph_and_lie_in_float32_on_the_cpu(toy_pipe):
    (found,) = attributor_of(toy_pipe).attribute(PROMPTS[:1])
    for values in (found.tokens, *found.neurons.values(), *found.positions.values()):
        assert not values.requires_grad
        assert (values.dtype, values.device.type) == (torch.float32, "cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close_to_single(dtype):
    (half,), (single,) = (attributor_of(build_toy_pipe().to(kind)).attribute(PROMPTS[:1]) for kind in (dtype, None))
    assert half.response == pytest.approx(single.response, rel=0.05)
    for name, values in half.neurons.items():
        assert values.isfinite().all()
        assert values.dtype == torch.float32
        cosine = torch.nn.functional.cosine_similarity(values, single.neurons[name], dim=0)
        assert cosine > 0.95, name
    assert half.tokens.isfinite().all()
