"""Levers are taken from the top of a ranking, as few as are known to suffice, with means of the reference."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audit.denoiser import Denoiser
from audit.localize.levers import Ranked, fewest, neuron_set_of, rank_neurons, reference_means
from hooks import SITE_KINDS, Site, find_sites, sites_of
from tests.audit.counting import counted_latents
from tests.hooks.edits import n_hooks
from tests.tolerances import BATCH

SITES = [Site(f"unet.{name}", "unet", name, "cross_v", 3, "output") for name in ("b", "a")]
PROMPTS = ["a red star", "", "zzqx !!!! @@@@ ####", "a blue sea", "жар-птица"]
TIMESTEP = 981


@given(st.lists(st.integers(-2, 2), min_size=6, max_size=6))
def test_neurons_come_highest_first_and_equal_ones_in_the_models_order(values):
    of_sites = {"unet.a": torch.tensor(values[3:]).float(), "unet.b": torch.tensor(values[:3]).float()}
    everyone = [Ranked(site.name, i, float(of_sites[site.name][i])) for site in SITES for i in range(3)]
    assert rank_neurons(of_sites, SITES) == sorted(everyone, key=lambda one: -one.value)


def test_only_neurons_of_the_sites_are_ranked():
    values = {"unet.a": torch.tensor([1.0, 3.0, 2.0]), "unet.b": torch.full((3,), 9.0)}
    assert rank_neurons(values, SITES[1:]) == [("unet.a", 1, 3.0), ("unet.a", 2, 2.0), ("unet.a", 0, 1.0)]


@given(st.permutations([(site.name, i) for site in SITES for i in range(3)]), st.integers(1, 6), st.booleans())
def test_a_set_holds_the_chosen_in_ascending_order_with_their_own_means(order, n, has_means):
    means = {"unet.a": torch.tensor([1.0, 2.0, 3.0]), "unet.b": torch.tensor([4.0, 5.0, 6.0])}
    chosen = order[:n]
    found = neuron_set_of([Ranked(*owner, 0.5) for owner in chosen], means if has_means else None, "abc")
    assert found.fingerprint == "abc"
    assert found.n_neurons == n
    assert {(name, i) for name, numbers in found.neurons.items() for i in numbers} == set(chosen)
    assert all(list(numbers) == sorted(numbers) for numbers in found.neurons.values())
    assert (found.means is not None) == has_means
    for name, numbers in (found.neurons if has_means else {}).items():
        assert found.means[name] == tuple(float(means[name][i]) for i in numbers)


def test_a_set_of_ranked_neurons_belongs_to_the_model(toy_pipe):
    sites = find_sites(toy_pipe, ["cross_v"])
    ranked = rank_neurons({site.name: torch.arange(site.n_neurons).float() for site in sites}, sites)
    top = neuron_set_of(ranked[: len(sites)], None, "abc")
    assert {site.name for site in sites_of(toy_pipe, top)} == {site.name for site in sites}
    assert all(numbers == (site.n_neurons - 1,) for site, numbers in zip(sites, top.neurons.values(), strict=True))


@given(st.integers(1, 300), st.data())
def test_the_fewest_is_found_where_more_do_what_fewer_do(n, data):
    needed = data.draw(st.integers(1, n))
    asked = []

    def is_enough(count):
        asked.append(count)
        return count >= needed

    assert fewest(is_enough, n, n_checks=20) == needed
    assert all(0 < count < n for count in asked)
    assert len(asked) == len(set(asked)) <= max(1, (n - 1).bit_length())


@given(st.integers(1, 300), st.integers(0, 6), st.sets(st.integers(0, 300)))
def test_what_is_given_was_affirmed_or_is_all_whatever_the_answers(n, n_checks, enough):
    asked = []

    def is_enough(count):
        asked.append(count)
        return count in enough

    found = fewest(is_enough, n, n_checks)
    assert found == n or (found in enough and found in asked)
    assert 1 <= found <= n
    assert len(asked) <= n_checks
    assert all(0 < count < n for count in asked)


@given(st.integers(1, 300), st.integers(0, 6), st.data())
def test_each_check_halves_what_is_not_known(n, n_checks, data):
    needed = data.draw(st.integers(1, n))
    found = fewest(lambda count: count >= needed, n, n_checks)
    assert needed <= found <= needed + n / 2**n_checks


def means_by_hand(pipe, sites, run_seed):
    """Prompt by prompt, with hooks of our own."""
    seen = {site.name: [] for site in sites}
    for index, prompt in enumerate(PROMPTS):
        generator = torch.Generator().manual_seed(run_seed * 1_000_003 + index)
        latents, handles = torch.randn(1, 4, 8, 8, generator=generator), []
        for site in sites:
            module, own = getattr(pipe, site.component).get_submodule(site.module_path), seen[site.name]
            if site.reads == "input":
                handles.append(module.register_forward_pre_hook(lambda _m, args, own=own: own.append(args[0][0])))
            else:
                handles.append(module.register_forward_hook(lambda _m, _a, out, own=own: own.append(out[0])))
        with torch.no_grad():
            embeds = pipe.encode_prompt(prompt, "cpu", 1, False)[0]
            pipe.unet(latents, TIMESTEP, encoder_hidden_states=embeds)
        for handle in handles:
            handle.remove()
    return {name: torch.stack(rows).mean(dim=(0, 1)) for name, rows in seen.items()}  # [prompt, position, neuron]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 32])
def test_means_equal_a_loop_over_prompts_and_do_not_depend_on_batches(toy_pipe, batch_size):
    sites, denoiser = find_sites(toy_pipe, SITE_KINDS), Denoiser(toy_pipe)
    with counted_latents() as count:
        means = reference_means(denoiser, sites, PROMPTS, TIMESTEP, run_seed=5, batch_size=batch_size)
    assert count.n_latents == denoiser.evaluations == len(PROMPTS)
    assert n_hooks(toy_pipe) == 0
    expected = means_by_hand(toy_pipe, sites, run_seed=5)
    assert means.keys() == expected.keys()
    for site in sites:
        assert means[site.name].shape == (site.n_neurons,)
        torch.testing.assert_close(means[site.name], expected[site.name], rtol=0, atol=BATCH)
