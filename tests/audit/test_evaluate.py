"""AUC and TPR at a false-positive rate against slow, obvious oracles."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from audit.evaluate import auc, tpr_at_fpr

scores = st.lists(st.integers(0, 9), min_size=1, max_size=30).map(lambda values: np.array(values, dtype=np.float64))


@given(scores, scores)
def test_auc_is_the_share_of_pairs_in_the_right_order(positives: np.ndarray, negatives: np.ndarray) -> None:
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives]
    assert np.isclose(auc(positives, negatives), np.mean(pairs))


@given(scores, scores, st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_tpr_is_the_best_among_thresholds_that_keep_the_rate(
    positives: np.ndarray, negatives: np.ndarray, fpr: float
) -> None:
    allowed = [t for t in [-1.0, *range(10)] if (negatives > t).mean() <= fpr + 1e-12]
    assert np.isclose(tpr_at_fpr(positives, negatives, fpr), max((positives > t).mean() for t in allowed))
