"""Tell styles of captions apart by their words alone, without any model.

Public lists of memorized and clean prompts differ in style so much that a classifier which never saw the model
separates them; a detector's success on such lists proves nothing. So every audit says how far its candidates' style is
from its reference's, and prompts are judged among prompts of their own style. Words cannot be moved by what a model
memorized, as its embeddings can: a memorized caption stays in its style.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MIN_PROMPTS = 10
_N_FOLDS = 5

Features = npt.NDArray[np.float64]  # [prompt, feature]

N_DIRECTIONS = 16
REFERENCE_GROUP_SIZE = 150
CANDIDATE_GROUP_SIZE = 150
MAX_REFERENCE_GROUPS, MAX_CANDIDATE_GROUPS = 2, 3
MIN_REFERENCE_GROUP, MIN_CANDIDATE_GROUP = 60, 30
_N_NEIGHBOURS = 5
_REACH_QUANTILE, _REACH_FACTOR = 0.99, 1.1


class TextNull(NamedTuple):
    """What a classifier that sees words alone makes of two sets: its scores of each, out of fold, and their AUC."""

    of_first: npt.NDArray[np.float64]
    of_second: npt.NDArray[np.float64]
    auc: float


def text_only_auc(first: Sequence[str], second: Sequence[str], seed: int) -> float | None:
    """The AUC of `fit_text_null`."""
    null = fit_text_null(first, second, seed)
    return None if null is None else null.auc


def fit_text_null(first: Sequence[str], second: Sequence[str], seed: int) -> TextNull | None:
    """Cross-validate a bag-of-words classifier between two sets; None with fewer than ten in either."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    if min(len(first), len(second)) < MIN_PROMPTS:
        return None
    texts, labels = [*first, *second], np.repeat([1, 0], [len(first), len(second)])
    words = TfidfVectorizer(lowercase=False, token_pattern=r"\w+|[^\w\s]", sublinear_tf=True)
    classifier = make_pipeline(words, LogisticRegression(class_weight="balanced", max_iter=1000))
    folds = StratifiedKFold(_N_FOLDS, shuffle=True, random_state=seed)
    predicted = cross_val_predict(classifier, texts, labels, cv=folds, method="predict_proba")[:, 1]
    return TextNull(predicted[: len(first)], predicted[len(first) :], float(roc_auc_score(labels, predicted)))


@dataclass(frozen=True, slots=True)
class StyleGroups:
    """Groups of prompts alike in style: first those made of the reference, then those that only candidates have.

    Args:
        of_reference: group of each reference prompt: [prompt].
        of_candidates: group of each candidate: [prompt].
        n_reference_groups: groups below this number are calibrated on their reference prompts, the others on their
            own members.
    """

    of_reference: npt.NDArray[np.int64]
    of_candidates: npt.NDArray[np.int64]
    n_reference_groups: int

    @property
    def n_groups(self) -> int:
        return int(max([self.n_reference_groups - 1, *self.of_candidates.tolist()])) + 1

    @property
    def strange(self) -> npt.NDArray[np.bool_]:
        """Candidates of a style that the reference lacks: [prompt]."""
        return self.of_candidates >= self.n_reference_groups


def group_by_style(reference: Sequence[str], candidates: Sequence[str]) -> StyleGroups:
    """Group prompts by the character n-grams and the length of their captions (k-means on their leading directions).

    A candidate belongs to the nearest reference group when the reference has neighbours as near to it as reference
    prompts have among themselves. The others form groups of their own, if they are enough to calibrate on.
    """
    features = style_features([*reference, *candidates])
    of_reference, of_candidates = features[: len(reference)], features[len(reference) :]
    groups_of_reference, near = _reference_groups(of_reference, of_candidates)
    n_reference_groups = int(groups_of_reference.max(initial=-1)) + 1
    within = _within_reach(of_reference, of_candidates)
    if n_reference_groups and (~within).sum() < MIN_CANDIDATE_GROUP:
        within[:] = True
    groups = near.copy()
    if (~within).any():
        n_groups = _number(int((~within).sum()), CANDIDATE_GROUP_SIZE, MAX_CANDIDATE_GROUPS)
        groups[~within] = n_reference_groups + _k_means(of_candidates[~within], n_groups, MIN_CANDIDATE_GROUP)[0]
    return StyleGroups(groups_of_reference, groups, n_reference_groups)


def style_features(texts: Sequence[str]) -> Features:
    """Leading directions of the character n-grams, and the length, of each text: [prompt, feature]."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    lengths = np.log1p([[len(text), len(text.split())] for text in texts])
    grams = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(1, 3), lowercase=False, sublinear_tf=True, max_features=20_000
    ).fit_transform([text or " ." for text in texts])
    n_directions = min(N_DIRECTIONS, grams.shape[1] - 1, len(texts) - 1)
    if n_directions < 1:
        return np.asarray(lengths)
    directions = TruncatedSVD(n_directions, random_state=0).fit_transform(grams)
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
    return np.hstack([directions, lengths])


def _reference_groups(reference: Features, candidates: Features) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Group of each reference prompt, and the nearest group to each candidate."""
    if len(reference) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(len(candidates), dtype=np.int64)
    n_groups = _number(len(reference), REFERENCE_GROUP_SIZE, MAX_REFERENCE_GROUPS)
    groups, centres = _k_means(reference, n_groups, MIN_REFERENCE_GROUP)
    distances = np.linalg.norm(candidates[:, None] - centres[None], axis=2)  # [candidate, group]
    return groups, distances.argmin(axis=1)


def _within_reach(reference: Features, candidates: Features) -> npt.NDArray[np.bool_]:
    """Whether the reference is as near to each candidate as to nearly all of itself, halves held against halves."""
    if len(reference) < 2 * (_N_NEIGHBOURS + 1):
        return np.full(len(candidates), len(reference) > 0)
    first, second = reference[0::2], reference[1::2]
    own = np.concatenate([_distance_to(first, second), _distance_to(second, first)])
    reach = _REACH_FACTOR * np.quantile(own, _REACH_QUANTILE)
    return np.asarray(_distance_to(candidates, reference) <= reach)


def _distance_to(points: Features, others: Features) -> npt.NDArray[np.float64]:
    """Distance of each point to its fifth nearest among the others: [point]."""
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=_N_NEIGHBOURS).fit(others).kneighbors(points)
    return np.asarray(distances[:, -1])


def _number(n_prompts: int, size: int, limit: int) -> int:
    return int(np.clip(n_prompts // size, 1, limit))


def _k_means(features: Features, n_groups: int, min_size: int) -> tuple[npt.NDArray[np.int64], Features]:
    """Group of each prompt and the centres, with as many groups up to `n_groups` as leave none below `min_size`."""
    from sklearn.cluster import KMeans

    for n in range(min(n_groups, len(features)), 1, -1):
        fitted = KMeans(n, n_init=4, random_state=0).fit(features)
        if np.bincount(fitted.labels_, minlength=n).min() >= min_size:
            return fitted.labels_.astype(np.int64), fitted.cluster_centers_
    return np.zeros(len(features), dtype=np.int64), features.mean(axis=0, keepdims=True)
