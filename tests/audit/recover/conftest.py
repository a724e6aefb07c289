"""Recovery of four prompts up a short ladder, with a training set that knows one image."""

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.ascent.climb import ClimbPlan
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.attempts import AttemptStore
from flashbulb.audit.recover.ladder import Target
from flashbulb.audit.recover.recovery import Recovery, recover_all
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.strategies.ascend import Ascend, AscendPlan
from flashbulb.audit.recover.strategies.cyclic import Cyclic, CyclicPlan
from flashbulb.audit.recover.strategies.known_image import KnownImage, KnownImagePlan
from flashbulb.audit.recover.strategies.sample import Sample
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.statistics.flags import Chosen
from flashbulb.audit.training_images.resemblance import Nearest
from tests.tolerances import IMAGE_LEVELS

PROMPTS = [Prompt(f"id{i}", text, "p.txt", i, 1) for i, text in enumerate(["a red star", "the sea", "жар", "hills"])]
TARGETS = {i: Target(prompt.text, (3, 40 + i, 7), (1.0, -1.0, 1.0)) for i, prompt in enumerate(PROMPTS)}
POSITIONS = ((2,), (3,))
ASCENT = AscendPlan(0, 2, 2, ClimbPlan(1, 0.02, 0.3, "token_embeddings", 4, False))
SAMPLES = SamplePlan(0, 2, 2, 3.0)
CYCLES, KNOWN = CyclicPlan(0, 2, 0.6, 2, 4), KnownImagePlan(0, 1, 0.1, 2)
ALL = ("sample", "ascend", "cyclic", "known_image")
WHOLE_LADDER = [("sample", 0), ("ascend", 0), ("ascend", 1), ("cyclic", 0), ("known_image", 0)]
BACKWARD = {"ascend": 2, "known_image": 2 * 2}  # UE of the plans above that no UNet is called for


class Only:
    """Training images of which exactly one is known: a sample copies it, or none."""

    def __init__(self, folder, known):
        self.known, self.path = known, folder / "known.png"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(known).save(self.path)

    def image(self, index):
        return self.known

    def nearest(self, images):
        return [self._nearest(int(np.abs(image.astype(int) - self.known).max())) for image in images]

    def _nearest(self, furthest):
        return Nearest(0, self.path, furthest / 255, False, "verbatim" if furthest <= IMAGE_LEVELS else None)


NOISE = np.random.default_rng(7).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.fixture
def recover(scored, tmp_path):
    """Recovery of the prompts into a folder, with small plans and a training set that knows one image."""

    def run(
        name="run",
        known=NOISE,
        strategies=ALL,
        positions=POSITIONS,
        keep_images=True,
        batch_size=4,
        seed_budget=0,
        identity="x",
        scored=scored,
    ):
        folder = tmp_path / name
        store = AttemptStore(folder / "recovery", dict.fromkeys(ALL, identity), keep_images=keep_images)
        verifier = Verifier(scored.denoiser, VerifyPlan(0, 2, 2, 4))
        every = (
            Sample(scored.denoiser, verifier, SAMPLES),
            Ascend(scored.denoiser, scored.scores, verifier, ASCENT),
            Cyclic(scored.denoiser, verifier, CYCLES, SAMPLES.n_samples),
            KnownImage(scored.denoiser, verifier, KNOWN),
        )
        recovery = Recovery(
            denoiser=scored.denoiser,
            strategies=[strategy for strategy in every if strategy.name in strategies],
            store=store,
            detectors=(),
            training=Only(tmp_path / "training", known),
            plan=SAMPLES,
            run=folder,
            fingerprint="f",
            keep_images=keep_images,
            batch_size=batch_size,
            seed_budget=seed_budget,
        )
        return recover_all(recovery, PROMPTS, Chosen(*positions), TARGETS)

    return run
