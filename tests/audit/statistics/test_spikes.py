"""The neurons of flagged prompts: planted spikes are found, and every prompt is read once."""

import numpy as np
import pytest

from flashbulb.audit.statistics.baseline import z_scores
from flashbulb.audit.statistics.scores import score_group, scored_kinds
from flashbulb.audit.statistics.spikes import BaseNeurons, Kept, read_neurons
from flashbulb.reports.tables.evidence import SPIKE_LIMIT
from tests.audit.counting import counted_reads
from tests.audit.neuron_sets import (
    FIRST,
    MODES,
    N_CANDIDATES,
    N_NEURONS,
    N_REFERENCE,
    N_SPIKES,
    SECOND,
    SITES,
    SPIKED,
    TEXT,
    noise,
    sets_of,
    spiked,
    spikes_of,
    write_set,
)
from tests.tolerances import ARITHMETIC


def all_groups(shards):
    return [score_group(kind, SITES, shards, None, n_components=2, pooled=True) for kind in scored_kinds(SITES)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_reference", [N_REFERENCE, 13])
def test_the_squared_z_of_a_prompt_add_up_to_its_squared_score(score, mode, n_reference):
    candidates, reference, pooled = sets_of(mode, spiked(noise(23, 0), [5, 6, 7, 8, 9]))
    reference = None if reference is None else reference[:n_reference]
    group, shards = score(candidates, reference, pooled=pooled, shard_size=4)
    spikes = spikes_of([group], shards, range(23), N_NEURONS)
    for prompt in range(23):
        assert len(spikes[prompt]) == N_NEURONS
        assert len({(s.column, s.neuron) for s in spikes[prompt]}) == N_NEURONS
        total = sum(s.z**2 for s in spikes[prompt])
        assert total == pytest.approx(group.candidates[prompt] ** 2 * N_NEURONS, rel=ARITHMETIC)
        assert sum(s.share for s in spikes[prompt]) == pytest.approx(1)


def test_shares_of_each_kind_add_up_to_one(tmp_path):
    shards = write_set(tmp_path, spiked(noise(20, 0), 3))
    groups = all_groups(shards)
    spikes = spikes_of(groups, shards, [3], 1000)[3]
    assert len(spikes) == N_NEURONS + 2 * TEXT.n_neurons
    for kind in ("feed_forward", "text_mlp"):
        assert sum(s.share for s in spikes if s.column.site.kind == kind) == pytest.approx(1)
    assert [abs(s.z) for s in spikes] == sorted((abs(s.z) for s in spikes), reverse=True)


@pytest.mark.parametrize("mode", MODES)
def test_top_spikes_are_the_planted_neurons(score, mode):
    candidates, reference, pooled = sets_of(mode, spiked(noise(N_CANDIDATES, 0), SPIKED))
    group, shards = score(candidates, reference, pooled=pooled, shard_size=30)
    planted = np.random.default_rng(SPIKED).choice(N_NEURONS, N_SPIKES, replace=False)
    found = spikes_of([group], shards, [SPIKED, 2], N_SPIKES)
    assert set(found) == {SPIKED, 2}
    offsets = {FIRST.name: 0, SECOND.name: FIRST.n_neurons}
    assert {offsets[s.column.site.name] + s.neuron for s in found[SPIKED]} == set(planted.tolist())
    for spike in found[SPIKED]:
        assert spike.activation == candidates[SPIKED, offsets[spike.column.site.name] + spike.neuron]
        assert spike.z > 0
        assert spike.column.token_class == "all"


def test_an_absent_token_class_neither_spikes_nor_scores(tmp_path):
    text = noise(20, 7, 2 * TEXT.n_neurons)
    text[4, : TEXT.n_neurons] = np.nan
    shards = write_set(tmp_path, noise(20, 0), text)
    group = score_group("text_mlp", SITES, shards, None, n_components=0, pooled=True)
    assert np.isfinite(group.candidates).all()
    spikes = spikes_of([group], shards, [4], 1000)[4]
    assert {s.z for s in spikes if s.column.token_class == "prompt"} == {0.0}
    assert {s.activation for s in spikes if s.column.token_class == "prompt"} == {0.0}


def test_climbed_neurons_are_those_of_their_kind_alone(tmp_path):
    groups = all_groups(shards := write_set(tmp_path, spiked(noise(20, 0), 3), shard_size=6))
    for kind, n_climbed in (("feed_forward", 7), ("text_mlp", 30), ("cross_v", 7)):
        neurons = read_neurons(groups, shards, [3, 11], Kept(5, kind, n_climbed))
        alone = [group for group in groups if group.kind == kind]
        for position in (3, 11):
            expected = spikes_of(alone, shards, [position], n_climbed)[position]
            assert neurons[position].climbed == expected
            assert len(neurons[position].spikes) == 5


def test_a_profile_is_made_of_all_neurons_of_its_site(tmp_path):
    groups = all_groups(shards := write_set(tmp_path, spiked(noise(20, 0), 3), shard_size=6, n_seeds=3))
    neurons = read_neurons(groups, shards, [3], Kept(1, "feed_forward", 1))[3]
    assert [profile.site for profile in neurons.profiles] == list(SITES)
    for group in groups:
        z = z_scores(shards.matrix(group.columns)[3:4], group.baseline_of(3))[0].astype(np.float64)
        for profile in neurons.profiles:
            values = [
                part
                for column, part in zip(group.columns, np.split(z, group.columns.starts[1:]), strict=True)
                if column.site == profile.site
            ]
            if values:
                values = np.concatenate(values)
                assert profile.rms_z == pytest.approx(np.sqrt((values**2).mean()))
                assert profile.spike_share == (np.abs(values) > SPIKE_LIMIT).mean()


def test_chosen_prompts_are_read_once_and_no_other_shard(tmp_path):
    groups = all_groups(shards := write_set(tmp_path, noise(40, 0), shard_size=8))
    with counted_reads() as reads:
        neurons = read_neurons(groups, shards, [9, 30, 10], Kept(5, "feed_forward", 2))
    assert list(neurons) == [9, 30, 10]
    assert {path.name for path, _ in reads} == {"part-00001.parquet", "part-00003.parquet"}
    assert set(reads.values()) == {1}


@pytest.fixture(scope="module")
def in_both_models(tmp_path_factory):
    """One prompt's own neurons spike in both models, as high in the base; another set rose in the fine-tune alone."""
    folder = tmp_path_factory.mktemp("both")
    activations = {"base": spiked(noise(N_CANDIDATES, 0), SPIKED, by=14.0)}
    added = np.random.default_rng(5).choice(N_NEURONS, N_SPIKES, replace=False)
    activations["finetune"] = activations["base"].copy()
    activations["finetune"][SPIKED, added] += 6.0
    shards = {name: write_set(folder / name, matrix, shard_size=30) for name, matrix in activations.items()}
    return added, {name: (all_groups(model_shards), model_shards) for name, model_shards in shards.items()}


def test_of_a_fine_tune_the_neurons_are_listed_that_rose_above_the_base(in_both_models):
    added, models = in_both_models
    (groups, shards), base = models["finetune"], BaseNeurons(*models["base"])
    kept = Kept(N_SPIKES, "feed_forward", N_SPIKES)
    offsets = {FIRST.name: 0, SECOND.name: FIRST.n_neurons}

    def listed(neurons):
        return {offsets[s.column.site.name] + s.neuron for s in neurons.climbed}

    alone = read_neurons(groups, shards, [2, SPIKED], kept)
    against = read_neurons(groups, shards, [2, SPIKED], kept, base)
    known = set(np.random.default_rng(SPIKED).choice(N_NEURONS, N_SPIKES, replace=False).tolist())
    assert known - set(added.tolist()), "the two sets are not the same neurons"
    assert listed(alone[SPIKED]) != set(added.tolist())
    assert listed(against[SPIKED]) == set(added.tolist())


def test_the_difference_is_that_of_two_readings(in_both_models):
    _, models = in_both_models
    (groups, shards), base = models["finetune"], BaseNeurons(*models["base"])
    kept = Kept(1000, "feed_forward", 0)
    own_neurons, base_neurons = (read_neurons(*models[name], [SPIKED], kept)[SPIKED] for name in ("finetune", "base"))
    difference = read_neurons(groups, shards, [SPIKED], kept, base)[SPIKED]
    z_of = [{(s.column, s.neuron): s.z for s in neurons.spikes} for neurons in (own_neurons, base_neurons)]
    for spike in difference.spikes:
        where = (spike.column, spike.neuron)
        assert (spike.own_z, spike.base_z) == (z_of[0][where], z_of[1][where])
        assert spike.z == spike.own_z - spike.base_z
    for kind in ("feed_forward", "text_mlp"):
        spikes = [spike for spike in difference.spikes if spike.column.site.kind == kind]
        total = sum(spike.z**2 for spike in spikes)
        assert [spike.share for spike in spikes] == pytest.approx([spike.z**2 / max(total, 1e-30) for spike in spikes])
    for profile in difference.profiles:
        z = [spike.z for spike in difference.spikes if spike.column.site == profile.site]
        assert profile.rms_z == pytest.approx(np.sqrt(np.square(z).mean()))
        assert profile.spike_share == (np.abs(z) > SPIKE_LIMIT).mean()


def test_a_base_in_other_shards_gives_the_same_neurons(in_both_models, tmp_path):
    _, models = in_both_models
    groups, shards = models["finetune"]
    activations = shards.matrix(groups[-1].columns)
    in_three, in_one = BaseNeurons(groups, shards), BaseNeurons(groups, write_set(tmp_path, activations))
    kept = Kept(3, "feed_forward", 3)
    expected, found = (read_neurons(groups, shards, [SPIKED, 2], kept, base) for base in (in_three, in_one))
    assert found == expected
