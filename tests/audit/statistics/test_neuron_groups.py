"""Planted groups of neurons are recovered; chance, style and the order of the input make no groups."""

import random
from math import comb

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashbulb.audit.statistics.neuron_groups import (
    MAX_P_VALUE,
    MIN_JACCARD,
    ListedNeuron,
    NeuronGroup,
    group_neurons,
    neuron_groups_table,
)
from flashbulb.reports.tables.evidence import NEURON_GROUPS_SCHEMA
from flashbulb.reports.tables.files import NEURON_GROUPS_FILE
from flashbulb.reports.tables.schema import read_table, write_table

N_NEURONS = 9000
N_TOP = 50
Listed = dict[str, list[ListedNeuron]]


def neuron(index: int, z: float = 9.0) -> ListedNeuron:
    return ListedNeuron(f"unet.ff.{index % 3}", index, "all", z)


def random_listing(n_prompts: int, seed: int, n_top: int = N_TOP) -> Listed:
    """List random neurons from number 100 up; those below are free to be planted."""
    rng = np.random.default_rng(seed)
    return {
        f"p{i:04d}": [neuron(100 + int(k)) for k in rng.choice(N_NEURONS - 100, n_top, replace=False)]
        for i in range(n_prompts)
    }


def plant(listing: Listed, neurons: range, prompts: range, z: float = 9.0) -> Listed:
    """Put the neurons first in the lists of the prompts, which keep their length."""
    planted = [neuron(index, z) for index in neurons]
    chosen = {f"p{i:04d}" for i in prompts}
    return {p: (planted + listed)[: len(listed)] if p in chosen else listed for p, listed in listing.items()}


def groups_of(listing: Listed, **changes) -> tuple[NeuronGroup, ...]:
    arguments = {
        "n_neurons": N_NEURONS,
        "min_prompts": 3,
        "min_jaccard": MIN_JACCARD,
        "max_p_value": MAX_P_VALUE,
        "unflagged": None,
        "findings": None,
    }
    return group_neurons(listing, **(arguments | changes))


def indices(group: NeuronGroup) -> set[int]:
    return {n.neuron for n in group.neurons}


@pytest.fixture
def two_planted() -> Listed:
    return plant(plant(random_listing(75, 0), range(8), range(5)), range(20, 26), range(40, 49))


def test_planted_groups_are_recovered_exactly(two_planted):
    first, second = groups_of(two_planted)
    assert (indices(first), indices(second)) == (set(range(8)), set(range(20, 26)))
    assert first.prompt_ids == tuple(f"p{i:04d}" for i in range(5))
    assert second.prompt_ids == tuple(f"p{i:04d}" for i in range(40, 49))
    for group in (first, second):
        assert all(n.prompt_ids == group.prompt_ids and n.mean_z == 9.0 for n in group.neurons)
        assert all(n.expected_prompts == pytest.approx(75 * N_TOP / N_NEURONS) for n in group.neurons)
        assert group.unflagged_share is None


def test_a_planted_group_with_missing_and_added_neurons_is_one_group(two_planted):
    with_gaps = {p: [n for n in listed if n.neuron != int(p[1:])] for p, listed in two_planted.items()}  # one each
    first = groups_of(plant(with_gaps, range(1), range(70, 71)))[0]
    assert indices(first) == set(range(8))
    assert first.prompt_ids == tuple(f"p{i:04d}" for i in range(5))


@pytest.mark.parametrize("seed", range(4))
def test_groups_do_not_depend_on_the_order_of_prompts_and_neurons(two_planted, seed):
    shuffled = [(p, random.Random(seed).sample(listed, len(listed))) for p, listed in two_planted.items()]
    random.Random(seed).shuffle(shuffled)
    assert groups_of(dict(shuffled)) == groups_of(two_planted)
    assert groups_of(dict(shuffled), max_p_value=1.0) == groups_of(two_planted, max_p_value=1.0)


def test_a_neuron_listed_by_fewer_than_min_prompts_is_in_no_group():
    listing = {"a": [neuron(1), neuron(2)], "b": [neuron(2)], "c": [neuron(3)]}
    assert groups_of(listing, max_p_value=1.0) == ()
    (group,) = groups_of(listing, min_prompts=2, max_p_value=1.0)
    assert (indices(group), group.prompt_ids) == ({2}, ("a", "b"))


@pytest.mark.parametrize("seed", range(10))
def test_random_spikes_give_no_group(seed):
    listing = random_listing(75, seed)
    assert groups_of(listing) == ()
    assert groups_of(listing, max_p_value=1.0), "random prompts share some neurons; the p-value drops them"


def test_random_spikes_among_few_neurons_give_no_group():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        listing = {f"p{i}": [neuron(int(k)) for k in rng.choice(400, 20, replace=False)] for i in range(100)}
        assert groups_of(listing, n_neurons=400) == ()


def test_the_p_value_is_the_stated_bound():
    (group,) = groups_of(plant(random_listing(75, 1), range(4), range(3)))
    choices = comb(75, 3) * 3 * 4 * 3 * comb(N_NEURONS, 4) * 4 * 5
    assert group.p_value == pytest.approx(choices * (N_TOP / N_NEURONS) ** 12)


def test_more_neurons_or_more_prompts_are_less_likely_by_chance():
    p_values = [
        groups_of(plant(random_listing(75, 1), range(m), range(s)), max_p_value=1.0)[0].p_value
        for m, s in ((4, 4), (6, 4), (6, 6), (9, 9))
    ]
    assert p_values == sorted(p_values, reverse=True)
    assert len(set(p_values)) == 4


def test_opposite_signs_are_not_the_same_spike():
    listing = plant(random_listing(75, 2), range(6), range(5))
    listing = plant(listing, range(6), range(30, 34), z=-9.0)
    up, down = groups_of(listing)
    assert indices(up) == indices(down) == set(range(6))
    assert {n.mean_z for n in up.neurons} == {9.0}
    assert {n.mean_z for n in down.neurons} == {-9.0}
    assert not set(up.prompt_ids) & set(down.prompt_ids)


def test_one_neuron_listed_by_very_many_prompts_is_a_group():
    (group,) = groups_of(plant(random_listing(75, 3), range(1), range(30)))
    assert (indices(group), len(group.prompt_ids)) == ({0}, 30)


def test_neurons_that_unflagged_prompts_list_as_well_form_no_group():
    flagged = plant(plant(random_listing(75, 4), range(8), range(30)), range(20, 28), range(50, 56))
    unflagged = plant(random_listing(75, 5), range(8), range(30))
    assert [indices(g) for g in groups_of(flagged)] == [set(range(8)), set(range(20, 28))]
    (memory,) = groups_of(flagged, unflagged=unflagged)
    assert (indices(memory), memory.unflagged_share) == (set(range(20, 28)), 0.0)
    assert all(n.expected_prompts == pytest.approx(75 * N_TOP / N_NEURONS) for n in memory.neurons)
    style = groups_of(flagged, unflagged=unflagged, max_p_value=1.0)[0]
    assert (indices(style), style.unflagged_share) == (set(range(8)), 0.4)
    assert {n.expected_prompts for n in style.neurons} == {30.0}


def test_a_control_that_lacks_the_groups_changes_no_p_value(two_planted):
    without_control = groups_of(two_planted)
    with_control = groups_of(two_planted, unflagged=random_listing(75, 8))
    assert [(indices(g), g.p_value) for g in without_control] == [(indices(g), g.p_value) for g in with_control]


def test_groups_count_the_distinct_findings_of_their_prompts(two_planted):
    findings = {f"p{i:04d}": "finding-001" for i in range(4)} | {f"p{i:04d}": f"finding-{i:03d}" for i in range(40, 47)}
    assert [group.n_findings for group in groups_of(two_planted, findings=findings)] == [1, 7]
    assert [group.n_findings for group in groups_of(two_planted, findings={})] == [0, 0]
    assert [group.n_findings for group in groups_of(two_planted)] == [None, None]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 12), st.sampled_from([-7.0, 0.0, 7.0]), max_size=8), max_size=9))
def test_every_group_has_the_promised_size_order_and_similarity(drawn):
    listing = {f"p{i}": [neuron(k, z) for k, z in z_by_neuron.items()] for i, z_by_neuron in enumerate(drawn)}
    groups = groups_of(listing, min_prompts=2, max_p_value=1.0)
    members = [n for group in groups for n in group.neurons]
    assert len({(n.site, n.neuron, n.mean_z > 0) for n in members}) == len(members)
    sizes = [(len(group.neurons), len(group.prompt_ids)) for group in groups]
    assert sizes == sorted(sizes, reverse=True)
    for group in groups:
        core = set(group.prompt_ids)
        assert len(core) >= 2
        assert 0 < group.p_value <= 1
        for n in group.neurons:
            own = {p for p, listed in listing.items() if any((s.neuron, s.z) == (n.neuron, n.mean_z) for s in listed)}
            assert set(n.prompt_ids) == own
            assert len(own & core) >= MIN_JACCARD * len(own | core)


def test_a_neuron_that_a_prompt_lists_twice_counts_with_its_larger_z():
    listing = {p: [neuron(1, 9.0), neuron(1, 4.0)] for p in "abc"}
    (group,) = groups_of(listing, max_p_value=1.0)
    assert [(n.mean_z, n.prompt_ids) for n in group.neurons] == [(9.0, ("a", "b", "c"))]


def test_a_planted_group_is_found_among_two_thousand_flagged_prompts():
    listing = plant(random_listing(2000, 6, n_top=20), range(12), range(100, 130))
    (group,) = groups_of(listing)
    assert (indices(group), len(group.prompt_ids)) == (set(range(12)), 30)


def test_arguments_out_of_range_are_refused(two_planted):
    with pytest.raises(ValueError, match="min_prompts 1 must be at least 2"):
        groups_of(two_planted, min_prompts=1)
    with pytest.raises(ValueError, match="min_jaccard 0 in"):
        groups_of(two_planted, min_jaccard=0)
    with pytest.raises(ValueError, match="neurons of 50; count every scored neuron"):
        groups_of(two_planted, n_neurons=50)


@pytest.mark.parametrize("listing", [{}, {"p0": []}, {"p0": [neuron(1)], "p1": [neuron(2)]}])
def test_prompts_that_share_no_neuron_give_an_empty_table(listing, tmp_path):
    table = neuron_groups_table(groups_of(listing))
    assert (table.num_rows, table.schema) == (0, NEURON_GROUPS_SCHEMA)
    write_table(tmp_path / NEURON_GROUPS_FILE, table, NEURON_GROUPS_SCHEMA, {})
    assert read_table(tmp_path / NEURON_GROUPS_FILE, NEURON_GROUPS_SCHEMA).equals(table)


def test_the_table_reads_the_same_in_pandas_polars_and_duckdb(two_planted, tmp_path):
    path = tmp_path / NEURON_GROUPS_FILE
    findings = {"p0000": "finding-001"}
    table = neuron_groups_table(groups_of(two_planted, findings=findings, unflagged=random_listing(9, 7)))
    write_table(path, table, NEURON_GROUPS_SCHEMA, {})
    assert read_table(path, NEURON_GROUPS_SCHEMA).equals(table)
    rows = table.to_pylist()
    assert [row["group_id"] for row in rows] == ["group-001"] * 8 + ["group-002"] * 6
    assert [row["n_findings"] for row in rows] == [1] * 8 + [0] * 6
    assert all(row["n_prompts"] == len(row["prompt_ids"]) == row["n_group_prompts"] for row in rows)
    prompts = [row["prompt_ids"] for row in rows]
    assert [list(p) for p in pd.read_parquet(path)["prompt_ids"]] == prompts
    assert pl.read_parquet(path).to_dicts() == rows
    assert duckdb.sql(f"select prompt_ids from '{path}'").fetchall() == [(p,) for p in prompts]
    (longest,) = duckdb.sql(f"select max(len(prompt_ids)) from '{path}' where expected_prompts < n_prompts").fetchall()
    assert longest == (9,)
