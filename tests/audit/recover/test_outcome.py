"""Images become evidence: what agrees, what matches a training image, and which are one finding."""

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.images.distances import tile_distances
from flashbulb.audit.recover.outcome import MIN_KINSHIP, Outcome, judge, severity
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.reports.tables.limits import FALSE_DISCOVERY_RATE, REPLICATION_DISTANCE
from tests.audit.noisy_images import image, images
from tests.audit.signs import CONVINCING, UNCONVINCING

SIDE = 16


@pytest.fixture
def training(tmp_path):
    for seed in (1, 2):
        Image.fromarray(image(seed)).save(tmp_path / f"{seed}.png")
    return open_training_images(tmp_path, SIDE, SIDE)


def outcome(verdict: str, index: int | None = None) -> Outcome:
    nearest = None if index is None else Nearest(index, f"{index}.png", 0.01, False)
    return Outcome(0, 1.0, nearest, None, verdict)


def test_random_images_are_far_apart():
    assert tile_distances(images(1), image(2))[0] > REPLICATION_DISTANCE


@pytest.mark.parametrize(
    ("seeds", "agreement"),
    [
        ((5, 5, 5, 5), 1.0),
        ((5, 5, 6, 5), 0.75),
        ((5, 5, 6, 7), 0.5),
        ((5, 6, 7, 8), 0.25),
        ((5, 5), 1.0),
        ((5, 6), 0.5),
    ],
)
def test_agreement_is_stated_but_shows_nothing_without_signs(seeds, agreement):
    found = judge(images(*seeds), None, None)
    assert (found.agreement, found.verdict, found.nearest, found.confidence) == (agreement, "not_shown", None, None)
    assert seeds[found.best] == 5 or agreement == 1 / len(seeds)


def test_signs_decide_without_training_images():
    shown, hidden = (judge(images(6, 5, 5, 5), None, signs) for signs in (CONVINCING, UNCONVINCING))
    assert (shown.verdict, hidden.verdict) == ("confirmed", "not_shown")
    assert shown.confidence > hidden.confidence
    assert shown.best == hidden.best == 1
    assert (shown.nearest, shown.kind) == (None, None)


def test_signs_of_images_that_do_not_agree_show_nothing_unless_no_prompt_is_judged():
    assert judge(images(5, 6, 7, 8), None, CONVINCING).verdict == "not_shown"
    assert judge(images(5, 6, 7, 8), None, CONVINCING, source="blind").verdict == "confirmed"
    assert judge(images(5, 6, 7, 8), None, UNCONVINCING, source="blind").verdict == "not_shown"


def test_signs_make_likely_at_most_what_matches_no_training_image(training):
    found = judge(images(7, 7, 7, 7), training, CONVINCING)
    assert (found.verdict, found.kind) == ("likely", None)
    assert found.nearest.distance > REPLICATION_DISTANCE
    for signs in (None, UNCONVINCING):
        assert judge(images(7, 7, 7, 7), training, signs).verdict == "not_shown"


def test_what_is_not_the_prompts_own_never_shows(training):
    just_below = np.nextafter(MIN_KINSHIP, 0)
    for given, kinship in ((None, just_below), (training, just_below), (training, -1.0)):
        found = judge(images(2, 2, 2, 2), given, CONVINCING, kinship=kinship)
        assert (found.verdict, found.kind) == ("not_shown", None)
        assert found.confidence is not None
    assert judge(images(2, 2, 2, 2), training, None, kinship=MIN_KINSHIP).verdict == "confirmed"
    assert judge(images(2, 2, 2, 2), None, CONVINCING, kinship=MIN_KINSHIP).verdict == "confirmed"


def test_one_sample_that_matches_a_training_image_confirms(training):
    found = judge(images(7, 8, 2, 9), training, None)
    assert (found.verdict, found.best, found.kind) == ("confirmed", 2, "verbatim")
    assert found.nearest.path.name == "2.png"
    assert found.nearest.distance == 0


def test_a_match_needs_no_signs_and_bad_signs_do_not_undo_it(training):
    for signs in (None, UNCONVINCING, CONVINCING):
        assert judge(images(1, 7, 8, 9), training, signs).verdict == "confirmed"


class Claims:
    """Training images of which the second sample is said to be near, and the third to be a copy."""

    def nearest(self, samples):
        kinds, distances = [None, None, "verbatim", None], [0.5, 0.05, 0.3, 0.4]
        return [
            Nearest(i, f"{i}.png", d, False, kind) for i, (d, kind) in enumerate(zip(distances, kinds, strict=True))
        ]


def test_what_is_a_copy_confirms_and_not_what_is_merely_near():
    found = judge(images(6, 7, 8, 9), Claims(), None)
    assert (found.best, found.verdict, found.kind) == (2, "confirmed", "verbatim")


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
def test_severity_follows_the_image_then_the_q_value(flagged, q_value, verdict, expected):
    assert severity(flagged, q_value, None if verdict is None else outcome(verdict)) == expected


def test_what_was_driven_is_confirmed_by_half_of_its_images_and_not_by_one():
    one_of_four = judge(images(6, 7, 8, 9), Claims(), None, source="driven")
    assert one_of_four.verdict == "not_shown"
