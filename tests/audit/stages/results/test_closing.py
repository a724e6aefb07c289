"""The verdict of a closing look: by its confidence; with training images, only a copy of one is confirmed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.discover.closing import Closed
from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.stages.results.closing import LIKELY_AT, outcome_of
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.reports.tables.limits import CONFIRMED_AT


def blocks(seed: int) -> RgbImage:
    """An image of random blocks, [16, 16, 3]."""
    return np.kron(
        np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8)
    )


def closed(confidence: float) -> Closed:
    return Closed(np.stack([blocks(0)] * 3), confidence, 119)


@pytest.mark.parametrize(
    ("confidence", "verdict"),
    [
        (CONFIRMED_AT, "confirmed"),
        (CONFIRMED_AT - 0.01, "likely"),
        (LIKELY_AT, "likely"),
        (LIKELY_AT - 0.01, "not_shown"),
    ],
)
def test_confidence_decides_without_training_images(confidence: float, verdict: str) -> None:
    outcome = outcome_of(closed(confidence), None)
    assert (outcome.verdict, outcome.confidence) == (verdict, confidence)


@pytest.mark.parametrize(("seed", "verdict"), [(0, "confirmed"), (1, "likely")])
def test_with_training_images_only_a_copy_of_one_is_confirmed(tmp_path: Path, seed: int, verdict: str) -> None:
    Image.fromarray(blocks(seed)).save(tmp_path / "image.png")
    outcome = outcome_of(closed(0.99), open_training_images(tmp_path, 16, 16))
    assert outcome.verdict == verdict
    assert outcome.nearest is not None
