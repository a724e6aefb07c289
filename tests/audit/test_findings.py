"""Pictures become evidence: what agrees, what matches a training picture, and which are one finding."""

import numpy as np
import pytest
from PIL import Image

from audit.evidence import REPLICATION_DISTANCE, tile_distances
from audit.findings import FALSE_DISCOVERY_RATE, Outcome, group_findings, judge, severity
from audit.training_images import Nearest, open_training_images

SIDE = 16


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def pictures(*seeds: int) -> np.ndarray:
    return np.stack([picture(seed) for seed in seeds])


@pytest.fixture
def training(tmp_path):
    for seed in (1, 2):
        Image.fromarray(picture(seed)).save(tmp_path / f"{seed}.png")
    return open_training_images(tmp_path, SIDE, SIDE)


def outcome(verdict: str, index: int | None = None) -> Outcome:
    nearest = None if index is None else Nearest(index, f"{index}.png", 0.01, False)
    return Outcome(0, 1.0, nearest, verdict)


def test_random_pictures_are_far_apart():
    assert tile_distances(pictures(1), picture(2))[0] > REPLICATION_DISTANCE


@pytest.mark.parametrize(
    ("seeds", "agreement", "verdict"),
    [
        ((5, 5, 5, 5), 1.0, "likely"),
        ((5, 5, 6, 5), 0.75, "likely"),
        ((5, 5, 6, 7), 0.5, "not_shown"),
        ((5, 6, 7, 8), 0.25, "not_shown"),
        ((5, 5), 1.0, "likely"),
        ((5, 6), 0.5, "not_shown"),
    ],
)
def test_agreement_alone_makes_a_picture_likely(seeds, agreement, verdict):
    found = judge(pictures(*seeds), None)
    assert (found.agreement, found.verdict, found.nearest) == (agreement, verdict, None)
    assert verdict == "not_shown" or seeds[found.best] == 5


def test_one_sample_that_matches_a_training_picture_confirms(training):
    found = judge(pictures(7, 8, 2, 9), training)
    assert (found.verdict, found.best) == ("confirmed", 2)
    assert found.nearest.path.name == "2.png"
    assert found.nearest.distance == 0


def test_agreement_without_a_match_stays_likely_and_names_the_nearest(training):
    found = judge(pictures(7, 7, 7, 7), training)
    assert found.verdict == "likely"
    assert found.nearest.distance > REPLICATION_DISTANCE
    assert judge(pictures(6, 7, 8, 9), training).verdict == "not_shown"


@pytest.mark.parametrize(
    ("flagged", "q_value", "verdict", "expected"),
    [
        (False, 1e-9, "confirmed", "none"),
        (True, 0.9, "confirmed", "high"),
        (True, 0.9, "likely", "high"),
        (True, FALSE_DISCOVERY_RATE, "not_shown", "medium"),
        (True, FALSE_DISCOVERY_RATE, None, "medium"),
        (True, 0.11, "not_shown", "low"),
        (True, 0.11, None, "low"),
    ],
)
def test_severity_follows_the_picture_then_the_q_value(flagged, q_value, verdict, expected):
    assert severity(flagged, q_value, None if verdict is None else outcome(verdict)) == expected


def test_prompts_of_one_training_picture_are_one_finding():
    outcomes = [outcome("confirmed", 4), outcome("not_shown"), outcome("confirmed", 7), outcome("confirmed", 4)]
    assert group_findings(outcomes, pictures(1, 2, 3, 4)) == [0, None, 1, 0]


def test_likely_pictures_are_told_apart_by_distance():
    assert group_findings([outcome("likely")] * 4, pictures(1, 2, 1, 2)) == [0, 1, 0, 1]


def test_a_likely_picture_joins_the_confirmed_one_that_it_repeats():
    assert group_findings([outcome("confirmed", 4), outcome("likely", 9)], pictures(1, 1)) == [0, 0]


def test_nothing_shown_is_no_finding():
    assert group_findings([], []) == []
    assert group_findings([outcome("not_shown")], pictures(1)) == [None]
