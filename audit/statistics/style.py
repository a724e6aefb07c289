"""Separate styles of prompts by their text alone, without a model.

Public lists of memorized and clean prompts differ so much in style that a classifier of the text alone separates them.
A detector's success on such lists proves nothing. Every audit therefore reports how far the candidates' style is from
the reference's, and compares each prompt with prompts of its own style. Style is measured on the text because a model's
embeddings may be changed by what it memorized; a memorized prompt keeps its text, and so its style.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float64]  # [prompt, feature]

MIN_PROMPTS = 10
"""Prompts of each of two sets without which no classifier is fitted between them."""
_N_FOLDS = 5

N_DIRECTIONS = 16
"""Directions of character n-grams in which styles differ, at most."""
REFERENCE_GROUP_SIZE, MAX_REFERENCE_GROUPS, MIN_REFERENCE_GROUP = 150, 2, 60
CANDIDATE_GROUP_SIZE, MAX_CANDIDATE_GROUPS, MIN_CANDIDATE_GROUP = 150, 3, 30
"""Prompts for each group, groups at most, and prompts of a group at least."""
_N_NEIGHBOURS, _REACH_QUANTILE, _REACH_FACTOR = 5, 0.99, 1.1


class TextNull(NamedTuple):
    """Out-of-fold scores that a text-only classifier gives two sets of prompts, [prompt] each, and their AUC."""

    first_scores: npt.NDArray[np.float64]
    second_scores: npt.NDArray[np.float64]
    auc: float


def text_only_auc(first: Sequence[str], second: Sequence[str], seed: int) -> float | None:
    """Return how well the text alone separates two sets: the AUC of `fit_text_null`, or None with too few prompts."""
    null = fit_text_null(first, second, seed)
    return None if null is None else null.auc


def fit_text_null(first: Sequence[str], second: Sequence[str], seed: int) -> TextNull | None:
    """Cross-validate a bag-of-words classifier between two sets; None if either has fewer than ten prompts."""
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
    """Groups of prompts of one style, numbered from 0: those of the reference, then those of candidates alone.

    Args:
        reference_group: group of each reference prompt: [reference prompt].
        candidate_group: group of each candidate: [prompt].
        n_reference_groups: groups below this number are calibrated on their reference prompts, the others on their
            own candidates.
    """

    reference_group: npt.NDArray[np.int64]
    candidate_group: npt.NDArray[np.int64]
    n_reference_groups: int

    @property
    def n_groups(self) -> int:
        return int(max([self.n_reference_groups - 1, *self.candidate_group.tolist()])) + 1


def group_by_style(reference: Sequence[str], candidates: Sequence[str]) -> StyleGroups:
    """Group prompts by their character n-grams and length, with k-means on the leading directions.

    A candidate joins the nearest reference group if the reference is as near to it as to nearly all of its own prompts.
    The other candidates form groups of their own, unless there is a reference and they are too few to calibrate on:
    then they join the nearest reference group too.
    """
    features = style_features([*reference, *candidates])
    reference_features, candidate_features = features[: len(reference)], features[len(reference) :]
    reference_group, candidate_group = _reference_groups(reference_features, candidate_features)
    n_reference_groups = int(reference_group.max(initial=-1)) + 1
    is_new = ~_within_reach(reference_features, candidate_features)
    if n_reference_groups and is_new.sum() < MIN_CANDIDATE_GROUP:
        is_new[:] = False
    if is_new.any():
        n_groups = _n_groups(int(is_new.sum()), CANDIDATE_GROUP_SIZE, MAX_CANDIDATE_GROUPS)
        new_group, _ = _k_means(candidate_features[is_new], n_groups, MIN_CANDIDATE_GROUP)
        candidate_group[is_new] = n_reference_groups + new_group
    return StyleGroups(reference_group, candidate_group, n_reference_groups)


def style_features(texts: Sequence[str]) -> Features:
    """Return the leading directions of each text's character n-grams, and its length: [prompt, feature]."""
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


def nearest_style(
    texts: Sequence[str], known: Sequence[str], known_style: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the style group of each text: that of the nearest known text, [text]; the groups stay as they are.

    Args:
        known_style: group of each known text: [known text].
    """
    from sklearn.neighbors import NearestNeighbors

    features = style_features([*known, *texts])
    nearest = NearestNeighbors(n_neighbors=1).fit(features[: len(known)])
    return np.asarray(known_style[nearest.kneighbors(features[len(known) :], return_distance=False)[:, 0]])


def _reference_groups(reference: Features, candidates: Features) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the group of each reference prompt, and the reference group nearest to each candidate."""
    if len(reference) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(len(candidates), dtype=np.int64)
    n_groups = _n_groups(len(reference), REFERENCE_GROUP_SIZE, MAX_REFERENCE_GROUPS)
    groups, centres = _k_means(reference, n_groups, MIN_REFERENCE_GROUP)
    distances = np.linalg.norm(candidates[:, None] - centres[None], axis=2)  # [candidate, group]
    return groups, distances.argmin(axis=1)


def _within_reach(reference: Features, candidates: Features) -> npt.NDArray[np.bool_]:
    """Return whether the reference is as near to each candidate as its two halves are to each other: [prompt].

    The limit is the 99th percentile of the distance from a reference prompt to the other half, and 10 % more.
    """
    if len(reference) < 2 * (_N_NEIGHBOURS + 1):
        return np.full(len(candidates), len(reference) > 0)
    first, second = reference[0::2], reference[1::2]
    own = np.concatenate([_distance_to(first, second), _distance_to(second, first)])
    reach = _REACH_FACTOR * np.quantile(own, _REACH_QUANTILE)
    return np.asarray(_distance_to(candidates, reference) <= reach)


def _distance_to(points: Features, others: Features) -> npt.NDArray[np.float64]:
    """Return the distance of each point to its fifth nearest among `others`: [point]."""
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=_N_NEIGHBOURS).fit(others).kneighbors(points)
    return np.asarray(distances[:, -1])


def _n_groups(n_prompts: int, size: int, limit: int) -> int:
    return int(np.clip(n_prompts // size, 1, limit))


def _k_means(features: Features, n_groups: int, min_size: int) -> tuple[npt.NDArray[np.int64], Features]:
    """Return the group of each prompt, [prompt], and the centres, [group, feature].

    The number of groups is the largest up to `n_groups` that leaves none smaller than `min_size`.
    """
    from sklearn.cluster import KMeans

    for n in range(min(n_groups, len(features)), 1, -1):
        fitted = KMeans(n, n_init=4, random_state=0).fit(features)
        if np.bincount(fitted.labels_, minlength=n).min() >= min_size:
            return fitted.labels_.astype(np.int64), fitted.cluster_centers_
    return np.zeros(len(features), dtype=np.int64), features.mean(axis=0, keepdims=True)
