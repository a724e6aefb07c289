"""A confirmed finding near a surer one is doubted, unless it is sure by itself."""

from pathlib import Path

import numpy as np
import pytest

from flashbulb.audit.discover.findings import NEAR_SURER, SURE_AT, doubted
from flashbulb.audit.discover.state import Discovery
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.outcome import Outcome
from flashbulb.audit.training_images.resemblance import Nearest

COPIED = Nearest(3, Path("training.png"), 0.1, True, "whole", (0.0, 0.0, 1.0, 1.0), 0.9)
LEVELS = {"here": 100, "near": 130, "far": 230}


def finding(place: str, confidence: float, verdict: str = "confirmed", is_copy: bool = False) -> Discovery:
    images = np.full((1, 16, 16, 3), LEVELS[place], dtype=np.uint8)
    outcome = Outcome(0, 1.0, COPIED if is_copy else None, confidence, verdict)
    return Discovery(outcome, images, Conditioning({}), 0, 0, 1, 1)


@pytest.mark.parametrize(
    ("findings", "verdicts"),
    [
        ([finding("here", 0.99), finding("near", 0.92)], ["confirmed", "likely"]),
        ([finding("near", 0.92), finding("here", 0.93)], ["likely", "confirmed"]),
        ([finding("here", 0.99), finding("near", SURE_AT)], ["confirmed", "confirmed"]),
        ([finding("here", 0.99), finding("far", 0.92)], ["confirmed", "confirmed"]),
        ([finding("here", 0.8, "likely"), finding("near", 0.92)], ["likely", "confirmed"]),
        ([finding("here", 0.99), finding("near", 0.7, "likely")], ["confirmed", "likely"]),
        ([finding("here", 0.99), finding("near", 0.92, is_copy=True)], ["confirmed", "confirmed"]),
        ([], []),
    ],
)
def test_confirmed_findings_near_surer_ones_are_likely(findings: list[Discovery], verdicts: list[str]) -> None:
    judged = doubted(findings)
    assert [discovery.outcome.verdict for discovery in judged] == verdicts
    assert [discovery.outcome.confidence for discovery in judged] == [f.outcome.confidence for f in findings]


def test_places_of_this_test_are_near_and_far() -> None:
    assert (LEVELS["near"] - LEVELS["here"]) / 255 < NEAR_SURER < (LEVELS["far"] - LEVELS["near"]) / 255
