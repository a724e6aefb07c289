"""A prompt while it climbs the recovery ladder: its images are judged and kept, and its memories collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flashbulb.audit.detectors import ImageDetector
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.images.fixed_part import FixedPart, fixed_part, save_mask
from flashbulb.audit.images.png import save_image
from flashbulb.audit.images.reduced import reduce_images
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.attempts import Attempt, AttemptStore
from flashbulb.audit.recover.ladder import LadderPrompt, Strategy, Target
from flashbulb.audit.recover.memories import Memory, Sampled, agreement_limit, sampled_outcomes
from flashbulb.audit.recover.outcome import JudgedAttempt, Outcome, judge_found, nearest_of
from flashbulb.audit.recover.parts import judge_part
from flashbulb.audit.recover.samples import SamplePlan, image_name
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.reader import is_shown_alike
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.reports.tables.files import IMAGES_DIRECTORY
from flashbulb.reports.tables.limits import TEMPLATE
from flashbulb.reports.tables.stores import in_store

_TRAINING = "training-"  # how the names of copied training images begin


@dataclass(frozen=True, slots=True)
class Recovery:
    """What every prompt's recovery shares.

    Args:
        strategies: those to try, in order; the first takes the plain samples as they are.
        run: the run directory.
        fingerprint: of the model.
        batch_size: images in one call of the pipeline.
        seed_budget: UE to spend on more seeds, see `more_seeds`.
    """

    denoiser: Denoiser
    strategies: Sequence[Strategy]
    store: AttemptStore
    detectors: Sequence[ImageDetector]
    training: TrainingImages | None
    plan: SamplePlan
    run: Path
    fingerprint: str
    keep_images: bool
    batch_size: int
    seed_budget: int


@dataclass(slots=True)
class Shown:
    """What a prompt has shown so far, as plain values.

    Args:
        sampled: plain samples, [seed, height, width, 3]; none after the last strategy where they lie on the disk.
        nearest: the training image nearest to each sample; None without training images.
        reduced: the samples, [seed, 32, 32, 3], from the end of the ladder on.
        measured: each image detector's score of the first samples, by name.
    """

    sampled: RgbImages = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    nearest: list[Nearest | None] = field(default_factory=list)
    attempts: list[JudgedAttempt] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    reduced: RgbImages = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    measured: Mapping[str, float] = field(default_factory=dict)

    def add_samples(self, images: RgbImages, nearest: Sequence[Nearest | None]) -> None:
        """Add plain samples, the next seeds, and the training image nearest to each."""
        self.sampled = np.concatenate([self.sampled, images]) if len(self.sampled) else images
        self.nearest += nearest


@dataclass(slots=True)
class Climbing:
    """A prompt while it climbs."""

    recovery: Recovery
    prompt: Prompt
    position: int
    target: Target
    shown: Shown = field(default_factory=Shown)

    @property
    def folder(self) -> Path:
        """Folder of the prompt's images."""
        return self.recovery.run / IMAGES_DIRECTORY / self.prompt.prompt_id

    def reduce_samples(self) -> None:
        """Keep the samples small, after the last strategy, and free those that lie on the disk."""
        self.shown.reduced = reduce_images(self.shown.sampled)
        if self.recovery.keep_images:
            self.shown.sampled = self.shown.sampled[:0]

    def remove_other_images(self) -> None:
        """Remove images of earlier recoveries, by more seeds or other strategies, that this one has no part in."""
        names = {image_name(i) for i in range(len(self.shown.reduced))}
        paths = [path for a in self.shown.attempts for path in (a.image_path, a.mask_path) if path is not None]
        names |= {Path(path).name for path in paths}
        for path in self.folder.glob("*.png"):
            if path.name not in names and not path.name.startswith(_TRAINING):
                path.unlink()

    @property
    def on_ladder(self) -> LadderPrompt:
        """The prompt as strategies see it."""
        return LadderPrompt(self.prompt.prompt_id, self.target, self.shown.sampled, self._known)

    def _known(self) -> RgbImages | None:
        """The training image nearest to the samples, [1, height, width, 3]."""
        nearest = self.shown.attempts[0].outcome.nearest if self.shown.attempts else None
        if self.recovery.training is None or nearest is None:
            return None
        return self.recovery.training.image(nearest.index)[None]

    def add(self, attempt: Attempt, strategy: Strategy) -> Outcome:
        """Judge an attempt, keep its image, and return what it shows."""
        recovery = self.recovery
        nearest = self.shown.nearest if strategy.is_plain else nearest_of(attempt.images, recovery.training)
        outcome = judge_found(
            attempt.images,
            nearest,
            recovery.training,
            attempt.signs,
            kinship=attempt.kinship,
            source="plain" if strategy.is_plain else "driven",
        )
        outcome = judge_part(outcome, attempt.part_confidence)
        part = fixed_part(attempt.images)
        path = self._keep_image(attempt, strategy, outcome)
        mask = self._save_mask(part, attempt.name) if recovery.keep_images else None
        self.shown.attempts.append(
            JudgedAttempt(
                strategy=attempt.strategy,
                restart=attempt.restart,
                evaluations=attempt.evaluations,
                outcome=outcome,
                image=attempt.images[outcome.best],
                image_path=self.relative(path),
                fixed_share=part.share,
                mask_path=self.relative(mask),
            )
        )
        self.training_file(outcome.nearest)  # the page shows the nearest image of every attempt
        self.shown.memories += self._memories(attempt, strategy, outcome, path, part)
        return outcome

    def _memories(
        self, attempt: Attempt, strategy: Strategy, outcome: Outcome, path: Path | None, part: FixedPart
    ) -> list[Memory]:
        """Return what an attempt shows: every distinct image of plain samples, or the image of another strategy."""
        samples = Sampled(self.shown.sampled, self.shown.nearest)
        if strategy.is_plain:
            shown = [(single, self.sample_path(single.best)) for single in sampled_outcomes(samples, outcome)]
        else:
            shown = [(outcome, path)] if outcome.verdict != "not_shown" else []
        limit = agreement_limit(strategy.is_plain)
        return [
            Memory(
                attempt.strategy,
                single,
                samples.count_part(attempt.images[single.best], part.mask, limit)
                if single.kind == TEMPLATE
                else samples.count(single, attempt.images[single.best], limit, self._near_duplicates),
                len(samples.images),
                attempt.images[single.best],
                self.relative(image_path),
                self.training_file(single.nearest),
            )
            for single, image_path in shown
        ]

    def _near_duplicates(self, index: int) -> Sequence[int]:
        training = self.recovery.training
        return () if training is None else training.near_duplicates(index)

    def _keep_image(self, attempt: Attempt, strategy: Strategy, outcome: Outcome) -> Path | None:
        if strategy.is_plain or not self.recovery.keep_images:
            return self.sample_path(outcome.best)
        path = self.folder / f"{attempt.name}.png"
        save_image(path, attempt.images[outcome.best], self._metadata(attempt, strategy))
        return path

    def sample_path(self, index: int) -> Path | None:
        """Return the file of a plain sample; None where no image is kept."""
        return self.folder / image_name(index) if self.recovery.keep_images else None

    def _metadata(self, attempt: Attempt, strategy: Strategy) -> dict[str, object]:
        return {
            "prompt": self.prompt.text,
            "strategy": attempt.strategy,
            "restart": attempt.restart,
            "evaluations": attempt.evaluations,
            "fingerprint": self.recovery.fingerprint,
            **strategy.settings_of(attempt.restart),
        }

    def _save_mask(self, part: FixedPart, name: str) -> Path | None:
        path = self.folder / f"{name}-fixed.png"
        return save_mask(path, part) if part.is_partial else None

    def training_file(self, nearest: Nearest | None) -> Path | None:
        """Return a file that shows the nearest training image; None where no image is kept."""
        return training_image_file(self.recovery.training, nearest, self.folder) if self.recovery.keep_images else None

    def relative(self, path: Path | None) -> str | None:
        """Return a path relative to the run."""
        return path.relative_to(self.recovery.run).as_posix() if path is not None else None


def training_image_file(training: TrainingImages | None, nearest: Nearest | None, folder: Path) -> Path | None:
    """Return a file of the nearest training image; one that no plain reader shows alike is written into `folder`.

    So is one of an object store: its file in the cache is for this machine only, and the run is for all.
    """
    if training is None or nearest is None:
        return None
    image = training.image(nearest.index)
    if not in_store(nearest.path) and is_shown_alike(nearest.path, image):
        return nearest.path
    path = folder / f"{_TRAINING}{nearest.index}.png"
    save_image(path, image, {"training_image": nearest.name})
    return path
