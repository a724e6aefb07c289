"""Neurons are selected from the top of a ranking, as few as suffice, with their reference means."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flashbulb.audit.localize.selection import (
    RankedNeuron,
    bisect_fewest,
    make_neuron_set,
    measure_reference_means,
    rank_neurons,
)
from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import SITE_KINDS, Site, find_sites, sites_of
from tests.audit.counting import counted_latents
from tests.hooks.edits import n_hooks
from tests.tolerances import BATCH

SITES = [Site(f"unet.{name}", "unet", name, "cross_v", 3, "output") for name in ("b", "a")]
PROMPTS = ["a red star", "", "zzqx !!!! @@@@ ####", "a blue sea", "жар-птица"]
TIMESTEP = 981


@given(st.lists(st.integers(-2, 2), min_size=6, max_size=6))
def test_neurons_are_ranked_highest_first_and_ties_keep_the_models_order(values):
    values_by_site = {"unet.a": torch.tensor(values[3:]).float(), "unet.b": torch.tensor(values[:3]).float()}
    all_neurons = [RankedNeuron(site.name, i, float(values_by_site[site.name][i])) for site in SITES for i in range(3)]
    assert rank_neurons(values_by_site, SITES) == sorted(all_neurons, key=lambda entry: -entry.value)


def test_only_neurons_of_the_sites_are_ranked():
    values = {"unet.a": torch.tensor([1.0, 3.0, 2.0]), "unet.b": torch.full((3,), 9.0)}
    assert rank_neurons(values, SITES[1:]) == [("unet.a", 1, 3.0), ("unet.a", 2, 2.0), ("unet.a", 0, 1.0)]


@given(st.permutations([(site.name, i) for site in SITES for i in range(3)]), st.integers(1, 6), st.booleans())
def test_a_set_has_the_selected_neurons_in_ascending_order_with_their_means(order, n, has_means):
    means = {"unet.a": torch.tensor([1.0, 2.0, 3.0]), "unet.b": torch.tensor([4.0, 5.0, 6.0])}
    selected = order[:n]
    neuron_set = make_neuron_set([RankedNeuron(*owner, 0.5) for owner in selected], means if has_means else None, "abc")
    assert neuron_set.fingerprint == "abc"
    assert neuron_set.n_neurons == n
    assert {(name, i) for name, numbers in neuron_set.neurons.items() for i in numbers} == set(selected)
    assert all(list(numbers) == sorted(numbers) for numbers in neuron_set.neurons.values())
    assert (neuron_set.means is not None) == has_means
    for name, numbers in (neuron_set.neurons if has_means else {}).items():
        assert neuron_set.means[name] == tuple(float(means[name][i]) for i in numbers)


def test_a_set_of_ranked_neurons_fits_the_model(toy_pipe):
    sites = find_sites(toy_pipe, ["cross_v"])
    ranked = rank_neurons({site.name: torch.arange(site.n_neurons).float() for site in sites}, sites)
    top = make_neuron_set(ranked[: len(sites)], None, "abc")
    assert {site.name for site in sites_of(toy_pipe, top)} == {site.name for site in sites}
    assert all(numbers == (site.n_neurons - 1,) for site, numbers in zip(sites, top.neurons.values(), strict=True))


@given(st.integers(1, 300), st.data())
def test_the_fewest_is_found_if_more_neurons_have_at_least_the_effect_of_fewer(n, data):
    needed = data.draw(st.integers(1, n))
    asked = []

    def is_enough(count):
        asked.append(count)
        return count >= needed

    assert bisect_fewest(is_enough, n, n_checks=20) == needed
    assert all(0 < count < n for count in asked)
    assert len(asked) == len(set(asked)) <= max(1, (n - 1).bit_length())


@given(st.integers(1, 300), st.integers(0, 6), st.sets(st.integers(0, 300)))
def test_the_result_was_checked_or_is_the_maximum_for_any_checks(n, n_checks, enough):
    asked = []

    def is_enough(count):
        asked.append(count)
        return count in enough

    found = bisect_fewest(is_enough, n, n_checks)
    assert found == n or (found in enough and found in asked)
    assert 1 <= found <= n
    assert len(asked) <= n_checks
    assert all(0 < count < n for count in asked)


@given(st.integers(1, 300), st.integers(0, 6), st.data())
def test_each_check_halves_the_uncertainty(n, n_checks, data):
    needed = data.draw(st.integers(1, n))
    found = bisect_fewest(lambda count: count >= needed, n, n_checks)
    assert needed <= found <= needed + n / 2**n_checks


def means_by_hand(pipe, sites, run_seed):
    """Average activations prompt by prompt, with separate hooks."""
    activations = {site.name: [] for site in sites}
    for index, prompt in enumerate(PROMPTS):
        generator = torch.Generator().manual_seed(run_seed * 1_000_003 + index)
        latents, handles = torch.randn(1, 4, 8, 8, generator=generator), []
        for site in sites:
            module, rows = getattr(pipe, site.component).get_submodule(site.module_path), activations[site.name]
            if site.reads == "input":
                handles.append(module.register_forward_pre_hook(lambda _m, args, rows=rows: rows.append(args[0][0])))
            else:
                handles.append(module.register_forward_hook(lambda _m, _a, out, rows=rows: rows.append(out[0])))
        with torch.no_grad():
            embeds = pipe.encode_prompt(prompt, "cpu", 1, False)[0]
            pipe.unet(latents, TIMESTEP, encoder_hidden_states=embeds)
        for handle in handles:
            handle.remove()
    return {
        name: torch.stack(rows).mean(dim=(0, 1)) for name, rows in activations.items()
    }  # [prompt, position, neuron]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 32])
def test_means_equal_a_loop_over_prompts_and_do_not_depend_on_batches(toy_pipe, batch_size):
    sites, denoiser = find_sites(toy_pipe, SITE_KINDS), open_denoiser(toy_pipe)
    with counted_latents() as count:
        means = measure_reference_means(denoiser, sites, PROMPTS, TIMESTEP, run_seed=5, batch_size=batch_size)
    assert count.n_latents == denoiser.evaluations == len(PROMPTS)
    assert n_hooks(toy_pipe) == 0
    expected = means_by_hand(toy_pipe, sites, run_seed=5)
    assert means.keys() == expected.keys()
    for site in sites:
        assert means[site.name].shape == (site.n_neurons,)
        torch.testing.assert_close(means[site.name], expected[site.name], rtol=0, atol=BATCH)
