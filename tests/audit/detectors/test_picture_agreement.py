"""Pictures alike score above pictures that differ, and nothing is evaluated for it."""

import math

import numpy as np
import pytest

from audit.detectors.picture_agreement import DETECTOR, picture_agreement
from audit.evidence import pairwise_distances


def random_pictures(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)


def test_copies_of_one_picture_agree_fully(sampled, toy_pipe):
    copies = np.repeat(random_pictures(1), 4, axis=0)
    assert picture_agreement(sampled(toy_pipe, pictures=copies)) == 0.0


def test_more_copies_score_higher(sampled, toy_pipe):
    scores = []
    for n_copies in (1, 2, 3, 4):
        pictures = random_pictures(4)
        pictures[:n_copies] = pictures[0]
        scores.append(picture_agreement(sampled(toy_pipe, pictures=pictures)))
    assert scores == sorted(set(scores))


def test_score_equals_slow_oracle(sampled, toy_pipe):
    pictures = random_pictures(4)
    distances = pairwise_distances(pictures)
    nearest = [min(distances[i][j] for j in range(4) if j != i) for i in range(4)]
    assert picture_agreement(sampled(toy_pipe, pictures=pictures)) == pytest.approx(-sum(nearest) / 4)


def test_one_picture_cannot_agree(sampled, toy_pipe):
    assert math.isnan(picture_agreement(sampled(toy_pipe, pictures=random_pictures(1))))


def test_nothing_is_evaluated(sampled, toy_pipe, counted):
    prompt = sampled(toy_pipe)
    with counted() as count:
        DETECTOR.measure(prompt)
    assert count.n_evaluations == DETECTOR.evaluations_per_picture == 0
