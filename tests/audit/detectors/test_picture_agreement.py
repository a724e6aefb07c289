"""Similar images score above different ones, without a denoiser evaluation."""

import math

import numpy as np
import pytest

from flashbulb.audit.detectors.picture_agreement import DETECTOR, picture_agreement
from flashbulb.audit.images.distances import pairwise_distances


def random_images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)


def test_copies_of_one_image_agree_fully(sampled, toy_pipe):
    copies = np.repeat(random_images(1), 4, axis=0)
    assert picture_agreement(sampled(toy_pipe, images=copies)) == 0.0


def test_more_copies_score_higher(sampled, toy_pipe):
    scores = []
    for n_copies in (1, 2, 3, 4):
        images = random_images(4)
        images[:n_copies] = images[0]
        scores.append(picture_agreement(sampled(toy_pipe, images=images)))
    assert scores == sorted(set(scores))


def test_the_score_equals_a_slow_oracle(sampled, toy_pipe):
    images = random_images(4)
    distances = pairwise_distances(images)
    nearest = [min(distances[i][j] for j in range(4) if j != i) for i in range(4)]
    assert picture_agreement(sampled(toy_pipe, images=images)) == pytest.approx(-sum(nearest) / 4)


def test_a_single_image_has_no_score(sampled, toy_pipe):
    assert math.isnan(picture_agreement(sampled(toy_pipe, images=random_images(1))))


def test_it_needs_no_evaluation(sampled, toy_pipe, counted):
    prompt = sampled(toy_pipe)
    with counted() as count:
        DETECTOR.measure(prompt)
    assert count.n_evaluations == DETECTOR.evaluations_per_image == 0
