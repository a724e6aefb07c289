"""Prompts whose cross-attention values are outside the reference's range stand out, whatever a neuron's unit."""

import numpy as np
import pytest

from flashbulb.audit.detectors.nemo import DETECTOR, N_LARGEST, fit_nemo, score_nemo
from flashbulb.hooks import SITE_KINDS
from tests.tolerances import ARITHMETIC


def activations(n_prompts: int, n_neurons: int = 50, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=(n_prompts, n_neurons)).astype(np.float32)


def test_the_score_equals_a_slow_oracle():
    reference, prompts = activations(30), activations(4, seed=1)
    scores = score_nemo(fit_nemo(reference), prompts)
    assert scores.shape == (4,)
    for row, score in zip(prompts, scores, strict=True):
        z = [abs(a - float(np.mean(r))) / float(np.std(r, ddof=1)) for a, r in zip(row, reference.T, strict=True)]
        assert score == pytest.approx(np.mean(sorted(z, reverse=True)[:N_LARGEST]), rel=1e-4)


@pytest.mark.parametrize("direction", [-1, 1])
def test_a_prompt_with_a_few_extreme_neurons_scores_above_all_clean_prompts(direction):
    reference, prompts = activations(100), activations(20, seed=1)
    prompts[7, :10] = reference.mean(axis=0)[:10] + direction * 20 * reference.std(axis=0)[:10]
    assert score_nemo(fit_nemo(reference), prompts).argmax() == 7


def test_neurons_constant_over_the_reference_count_as_zero():
    reference, prompts = activations(30), activations(4, seed=1)
    constant = np.full((30, 1), 0.1, dtype=np.float32)
    extreme = np.full((4, 1), 9.0, dtype=np.float32)
    with_constant = score_nemo(fit_nemo(np.hstack([reference, constant])), np.hstack([prompts, extreme]))
    np.testing.assert_allclose(with_constant, score_nemo(fit_nemo(reference), prompts), rtol=ARITHMETIC)
    np.testing.assert_array_equal(score_nemo(fit_nemo(constant), extreme), np.zeros(4))


def test_the_unit_and_offset_of_a_neuron_do_not_matter():
    reference, prompts = activations(30), activations(4, seed=1)
    unit = np.linspace(0.1, 10, 50, dtype=np.float32)
    np.testing.assert_allclose(
        score_nemo(fit_nemo(reference * unit + unit), prompts * unit + unit),
        score_nemo(fit_nemo(reference), prompts),
        1e-3,
    )


def test_the_score_does_not_depend_on_the_other_prompts():
    learnt, prompts = fit_nemo(activations(30)), activations(4, seed=1)
    alone = np.concatenate([score_nemo(learnt, prompts[[index]]) for index in range(4)])
    np.testing.assert_allclose(score_nemo(learnt, prompts), alone, rtol=ARITHMETIC)


def test_fewer_neurons_than_are_averaged_are_all_averaged():
    reference, prompts = activations(30, 3), activations(4, 3, seed=1)
    z = np.abs(prompts - reference.mean(axis=0)) / reference.std(axis=0, ddof=1)
    np.testing.assert_allclose(score_nemo(fit_nemo(reference), prompts), z.mean(axis=1), rtol=1e-4)


def test_a_single_reference_prompt_is_refused():
    with pytest.raises(ValueError, match="two reference prompts, got 1"):
        fit_nemo(activations(1))


def test_it_reads_prompt_sites_and_evaluates_nothing():
    assert DETECTOR.kind in SITE_KINDS
    assert (DETECTOR.kind, DETECTOR.reduction, DETECTOR.evaluations_per_seed) == ("cross_v", "all_mean", 0)
