"""Every prompt is scored with a baseline that did not see it, and planted spikes stand out with any reference."""

import numpy as np
import pytest

from flashbulb.audit.detectors import NeuronDetector
from flashbulb.audit.record.columns import Column, Columns
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics import scores as scoring
from flashbulb.audit.statistics.baseline import fit_baseline, spike_scores
from flashbulb.audit.statistics.scores import (
    GroupScores,
    baseline_arrays,
    baseline_columns,
    columns_of,
    combine,
    score_neurons,
)
from tests.audit.counting import counted_reads
from tests.audit.neuron_sets import (
    FIRST,
    MODES,
    N_CANDIDATES,
    N_COMPONENTS,
    N_NEURONS,
    SECOND,
    SITES,
    SPIKED,
    noise,
    sets_of,
    spiked,
    write_set,
)
from tests.tolerances import ARITHMETIC


@pytest.mark.parametrize("n_reference", [0, 13])
@pytest.mark.parametrize("prompt", [0, 2, 5])
def test_no_prompt_changes_the_baseline_that_scores_it(score, n_reference, prompt):
    reference = noise(n_reference, 1) if n_reference else None
    candidates = noise(6, 0)  # too few to set any aside; a prompt could otherwise change which others are left out
    raised = candidates.copy()
    raised[prompt] += 3
    before, after = (score(activations, reference, pooled=True)[0] for activations in (candidates, raised))
    for name in ("location", "scale", "components"):
        first, second = (getattr(group.baseline_of(prompt), name) for group in (before, after))
        np.testing.assert_array_equal(second, first)
    others = [other for other in range(6) if (other - prompt) % 5]
    moved = [before.baseline_of(other).location != after.baseline_of(other).location for other in others]
    assert all(neurons.any() for neurons in moved)


def test_a_reference_is_scored_out_of_fold_and_candidates_by_all_of_it(score):
    candidates, reference = noise(20, 0), noise(40, 1)
    group, _ = score(candidates, reference, pooled=False)
    whole = fit_baseline(reference, N_COMPONENTS)
    np.testing.assert_allclose(group.candidates, spike_scores(candidates, [whole]), rtol=ARITHMETIC)
    others = fit_baseline(reference[np.arange(40) % 5 != 3], N_COMPONENTS)
    np.testing.assert_allclose(group.reference[3::5], spike_scores(reference[3::5], [others]), rtol=ARITHMETIC)


@pytest.mark.parametrize("mode", MODES)
def test_planted_spikes_rank_first(score, mode):
    candidates, reference, pooled = sets_of(mode, spiked(noise(N_CANDIDATES, 0), SPIKED))
    group, _ = score(candidates, reference, pooled=pooled)
    assert group.candidates.argmax() == SPIKED
    assert group.candidates[SPIKED] > 1.3 * np.delete(group.candidates, SPIKED).max()


def test_step_sites_are_averaged_over_seeds(score):
    rng = np.random.default_rng(3)
    mean = noise(30, 0)
    halves = rng.integers(-8, 8, size=mean.shape).astype(np.float32)
    group, _ = score(np.stack([mean + halves, mean - halves], axis=1), None, pooled=True)
    expected, _ = score(mean, None, pooled=True)
    np.testing.assert_allclose(group.candidates, expected.candidates, rtol=ARITHMETIC)


def test_shards_are_read_up_to_a_limit_and_a_number_of_seeds(tmp_path):
    by_seed = noise(33, 0).reshape(11, 3, N_NEURONS)
    write_set(tmp_path, by_seed, shard_size=4)
    columns = columns_of("feed_forward", SITES)
    for n_used in (1, 2, 3, None):
        shards = Shards(tmp_path, 3, 3, n_used)
        expected = by_seed[:, :n_used].mean(axis=1)
        np.testing.assert_allclose(shards.matrix(columns), expected, rtol=1e-6)
        for limit in (1, 4, 5, 11, 99):
            np.testing.assert_allclose(shards.matrix(columns, limit), expected[:limit], rtol=1e-6)
        measured = np.arange(33.0).reshape(11, 3)[:, :n_used].mean(axis=1)
        np.testing.assert_allclose(shards.detector_scores(["nice"])["nice"], measured)


def group_of(kind: str, candidates, reference) -> GroupScores:
    return GroupScores(kind, Columns(()), np.array(candidates), np.array(reference), ())


def test_the_spike_score_uses_feed_forward_neurons_alone_where_they_are_recorded():
    reference = np.linspace(0, 2, 101)
    feed_forward, text = group_of("feed_forward", [1.0, 4.0], reference), group_of("text_mlp", [9.0, 9.0], reference)
    candidate_scores, reference_scores = combine([text, feed_forward])
    np.testing.assert_allclose(candidate_scores, np.array([1.0, 4.0]) / np.quantile(reference, 0.99))
    assert (reference_scores > 1).mean() == pytest.approx(0.01, abs=0.001)


def test_other_kinds_count_equally_whatever_their_units():
    reference = np.linspace(0, 2, 101)
    small, large = group_of("text_mlp", [2.0, 1.0], reference), group_of("cross_v", [1e3, 2e3], 1e3 * reference)
    candidate_scores, _ = combine([small, large])
    assert candidate_scores[0] == pytest.approx(candidate_scores[1])
    assert np.isfinite(combine([group_of("text_mlp", [0.0], [0.0])])[0]).all()


@pytest.mark.parametrize("with_reference", [True, False])
def test_neuron_detectors_are_fitted_on_the_reference_or_else_on_the_candidates(tmp_path, with_reference):
    candidates, reference = noise(20, 0), noise(15, 1)
    shards = write_set(tmp_path / "candidates", candidates, shard_size=6)
    reference_shards = write_set(tmp_path / "reference", reference) if with_reference else None
    fitted = []

    def fit(matrix):
        fitted.append(matrix)
        return {}

    def score(_, activations):
        return activations[:, 0].astype(np.float64)

    detector = NeuronDetector("first", "", "feed_forward", "abs_max", 0, fit, score)
    np.testing.assert_array_equal(score_neurons(detector, SITES, shards, reference_shards), candidates[:, 0])
    np.testing.assert_array_equal(fitted[0], reference if with_reference else candidates)


@pytest.mark.parametrize("mode", MODES)
def test_stored_baselines_are_those_that_scored(score, mode):
    candidates, reference, pooled = sets_of(mode, noise(20, 0))
    group, _ = score(candidates, reference, pooled=pooled)
    arrays = baseline_arrays([group])
    names = baseline_columns([group])["feed_forward"].split()
    assert names == [column.name for column in columns_of("feed_forward", SITES)]
    assert names == [Column(FIRST, "abs_max").name, Column(SECOND, "abs_max").name]
    folds = {name.split("/")[1] for name in arrays}
    assert folds == {str(i) for i in range(5 if pooled else 1)}
    for fold in folds:
        assert arrays[f"feed_forward/{fold}/location"].shape == (N_NEURONS,)
        location, scale = (arrays[f"feed_forward/{fold}/{name}"] for name in ("location", "scale"))
        np.testing.assert_array_equal(location, group.baselines[int(fold)].location)
        assert (scale > 0).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("held", [40, 2000])
def test_scoring_reads_no_candidate_twice(score, monkeypatch, mode, held):
    monkeypatch.setattr(scoring, "MAX_SELF_REFERENCE", held)
    candidates, reference, pooled = sets_of(mode, noise(90, 0))
    with counted_reads() as reads:
        score(candidates, reference, pooled=pooled, shard_size=16)
    assert set(reads.values()) == {1}


@pytest.mark.parametrize("held", [5, 40, 2000])
def test_a_neuron_detector_reads_no_candidate_twice(tmp_path, monkeypatch, held):
    monkeypatch.setattr(scoring, "MAX_SELF_REFERENCE", held)
    candidates = noise(90, 0)
    shards = write_set(tmp_path, candidates, shard_size=16)
    kind, reduction = "feed_forward", "abs_max"
    detector = NeuronDetector(
        *("sum", "", kind, reduction, 0), lambda fitted: {"n": len(fitted)}, lambda n, a: a.sum(axis=1) - n["n"]
    )
    with counted_reads() as reads:
        scores = score_neurons(detector, SITES, shards, None)
    np.testing.assert_allclose(scores, candidates.sum(axis=1) - min(held, 90), rtol=1e-6)
    assert set(reads.values()) == {1}
