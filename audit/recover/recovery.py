"""Take the flagged prompts and as many controls up the recovery ladder, keep the images, and judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from flashbulb.audit.detectors import ImageDetector
from flashbulb.audit.detectors.views import SampledPrompt
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.images.fixed_part import FixedPart, fixed_part, save_mask
from flashbulb.audit.images.png import save_image
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.prompts.prompt_set import Prompt
from flashbulb.audit.recover.attempts import Attempt, AttemptStore
from flashbulb.audit.recover.ladder import LadderPrompt, Strategy, Target, climb_ladder
from flashbulb.audit.recover.outcome import JudgedAttempt, Outcome, Recovered, judge, number_findings_
from flashbulb.audit.recover.samples import SamplePlan, image_name, load_images, sample_prompts, save_images
from flashbulb.audit.run.progress import track
from flashbulb.audit.training_images.nearest import Nearest, TrainingImages
from flashbulb.audit.training_images.reader import is_shown_alike
from flashbulb.reports.tables.files import IMAGES_DIRECTORY


@dataclass(frozen=True, slots=True)
class Recovery:
    """What every prompt's recovery shares.

    Args:
        strategies: those to try, in order; the first takes the plain samples as they are.
        run: the run directory.
        fingerprint: of the model.
        batch_size: images in one call of the pipeline.
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


def recover_all(
    recovery: Recovery,
    prompts: Sequence[Prompt],
    positions: tuple[Sequence[int], Sequence[int]],
    targets: Mapping[int, Target],
) -> list[Recovered]:
    """Take flagged and control prompts up the ladder, each until an attempt confirms a memory.

    Attempts on disk that the same settings and model made are kept.

    Args:
        positions: of the flagged prompts and of the controls.
        targets: the neurons to climb, by position.
    """
    flagged, controls = positions
    order = [*flagged, *controls]
    per_call = max(1, recovery.batch_size // recovery.plan.n_samples)
    recovered: list[Recovered] = []
    with track("recovering", len(order), "prompts") as advance:
        for first in range(0, len(order), per_call):
            chunk = [_Climbing(recovery, prompts[i], i, targets[i]) for i in order[first : first + per_call]]
            _sample_chunk(recovery, chunk)
            on_ladder = [climbing.on_ladder for climbing in chunk]
            climb_ladder(recovery.strategies, on_ladder, recovery.store, partial(_confirms, chunk))
            recovered += [climbing.finish(flagged) for climbing in chunk]
            advance(len(chunk))
    number_findings_(recovered)
    return recovered


@dataclass(slots=True)
class _Climbing:
    """A prompt while it climbs."""

    recovery: Recovery
    prompt: Prompt
    position: int
    target: Target
    sampled: RgbImages = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    attempts: list[JudgedAttempt] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.recovery.run / IMAGES_DIRECTORY / self.prompt.prompt_id

    @property
    def on_ladder(self) -> LadderPrompt:
        return LadderPrompt(self.prompt.prompt_id, self.target, self.sampled, self._known)

    def _known(self) -> RgbImages | None:
        """The training image nearest to the samples, [1, height, width, 3]."""
        nearest = self.attempts[0].outcome.nearest if self.attempts else None
        if self.recovery.training is None or nearest is None:
            return None
        return self.recovery.training.image(nearest.index)[None]

    def add(self, attempt: Attempt, strategy: Strategy) -> Outcome:
        """Judge an attempt, keep its image, and return what it shows."""
        recovery = self.recovery
        outcome = judge(
            attempt.images,
            recovery.training,
            attempt.signs,
            kinship=attempt.kinship,
            is_pushed=not strategy.is_plain,
        )
        part = fixed_part(attempt.images)
        image = attempt.images[outcome.best]
        path, mask, nearest = None, None, None
        if recovery.keep_images:
            path = self.folder / (image_name(outcome.best) if strategy.is_plain else f"{attempt.name}.png")
            if not strategy.is_plain:
                save_image(path, image, self._metadata(attempt, strategy))
            mask = self._save_mask(part, attempt.name)
            nearest = training_image_file(recovery.training, outcome.nearest, self.folder)
        self.attempts.append(
            JudgedAttempt(
                attempt.strategy,
                attempt.restart,
                attempt.evaluations,
                outcome,
                image,
                _relative(recovery.run, path),
                part.share,
                _relative(recovery.run, mask),
                nearest,
            )
        )
        return outcome

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

    def finish(self, flagged: Sequence[int]) -> Recovered:
        """Return what became of the prompt, its samples scored by the image detectors."""
        measured = _measure(self.recovery, self.prompt, self.sampled)
        return Recovered(self.position, self.position not in flagged, self.attempts, measured)


def _confirms(chunk: Sequence[_Climbing], index: int, strategy: Strategy, attempt: Attempt) -> bool:
    return chunk[index].add(attempt, strategy).verdict == "confirmed"


def _measure(recovery: Recovery, prompt: Prompt, images: RgbImages) -> dict[str, float]:
    if not recovery.detectors:
        return {}
    denoiser, plan = recovery.denoiser, recovery.plan
    sampled = SampledPrompt(
        denoiser=denoiser,
        images=images,
        encoded=denoiser.encode([prompt.text]),
        last_timestep=denoiser.last_timestep(plan.num_inference_steps),
        generator_seed=plan.run_seed,
    )
    return {detector.name: detector.measure(sampled) for detector in recovery.detectors}


def _sample_chunk(recovery: Recovery, chunk: Sequence[_Climbing]) -> None:
    """Fill in the plain samples of a few prompts: from disk, or else sampled in one batch and kept."""
    plan, fingerprint, missing = recovery.plan, recovery.fingerprint, []
    for climbing in chunk:
        images = load_images(climbing.folder, climbing.prompt.text, plan, fingerprint)
        if images is None:
            missing.append(climbing)
        else:
            climbing.sampled = images
    if not missing:
        return
    sampled = sample_prompts(recovery.denoiser, [climbing.prompt.text for climbing in missing], plan)
    for climbing, images in zip(missing, sampled, strict=True):
        climbing.sampled = images
        if recovery.keep_images:
            save_images(climbing.folder, images, climbing.prompt.text, plan, fingerprint)


def _relative(run: Path, path: Path | None) -> str | None:
    return path.relative_to(run).as_posix() if path is not None else None


def training_image_file(training: TrainingImages | None, nearest: Nearest | None, folder: Path) -> Path | None:
    """Return a file of the nearest training image; one that no plain reader shows alike is written into `folder`."""
    if training is None or nearest is None:
        return None
    image = training.image(nearest.index)
    if is_shown_alike(nearest.path, image):
        return nearest.path
    path = folder / f"training-{nearest.index}.png"
    save_image(path, image, {"training_image": str(nearest.path)})
    return path
