"""What a discovery keeps with its verdicts depends on all that they rest on."""

from pathlib import Path

import numpy as np
from PIL import Image

from flashbulb.audit.stages.results.findings import kept_identity
from flashbulb.audit.training_images.descriptors import Descriptor
from flashbulb.audit.training_images.storage import open_training_images


def save(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def test_what_is_kept_with_verdicts_is_of_the_same_training_images_and_descriptors_only(tmp_path: Path) -> None:
    def identity(weights: str | None = None) -> str:
        descriptor = (
            None if weights is None else Descriptor("sscd-disc-large", weights, lambda batch: batch.flatten(1)[:, :64])
        )
        return kept_identity({"words": 1}, open_training_images(tmp_path, 8, 8, descriptor))

    save(tmp_path / "a.png", 0)
    first, learnt = identity(), identity("a")
    assert (identity(), identity("a")) == (first, learnt)
    others = {learnt, identity("b"), kept_identity({"words": 1}, None)}
    save(tmp_path / "a.png", 1)
    assert len({first, *others, identity(), identity("a")}) == 6
