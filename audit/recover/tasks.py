"""The parts of a recovery that no other part influences, as values that any process can be sent.

Each is one batch of prompts. Results round with the batch that they are made in, so a part is done as a whole, and its
result is the same in whichever process and order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from flashbulb.audit.detectors.views import SampledPrompt
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.attempts import Attempt
from flashbulb.audit.recover.climbing import Climbing, Recovery, Shown
from flashbulb.audit.recover.ladder import Reach, Strategy, Target, climb_ladder
from flashbulb.audit.recover.memories import Sampled
from flashbulb.audit.recover.outcome import nearest_of
from flashbulb.audit.recover.samples import load_images, sample_and_keep
from flashbulb.audit.run.progress import Advance, track
from flashbulb.audit.run.together import undo_cut_off
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, RECOVERY_DIRECTORY

PromptT = TypeVar("PromptT")


class Performer(Protocol):
    """Performs tasks: in this process, or in others that each have a recovery of their own."""

    def perform(self, tasks: Iterable[Any], advance: Advance) -> Iterator[tuple[Any, Any]]:
        """Yield each task and its result, in any order."""


@dataclass(frozen=True, slots=True)
class SampleTask:
    """Plain samples of prompts, from seed `first` on, which are not on the disk."""

    run: Path
    prompts: tuple[Prompt, ...]
    first: int
    n_samples: int

    def __str__(self) -> str:
        return f"sampling {_named(self.prompts)}"

    def discard(self) -> None:
        """Delete what a process that was killed in the middle had not written to the end."""
        _discard(self.run, self.prompts)

    def perform(self, recovery: Recovery, advance: Advance) -> list[Sampled]:
        """Sample all prompts in one batch, keep the images, and find the training image nearest to each."""
        plan = replace(recovery.plan, n_samples=self.n_samples)
        sampled: list[RgbImages] = []
        for batch in batches_of(self.prompts, self.n_samples - self.first, recovery.batch_size):  # one, see ClimbTask
            texts = {recovery.run / IMAGES_DIRECTORY / prompt.prompt_id: prompt.text for prompt in batch}
            sampled += sample_and_keep(
                recovery.denoiser, texts, plan, recovery.fingerprint, self.first, keeps=recovery.keep_images
            )
        advance(len(self.prompts))
        return [Sampled(images, nearest_of(images, recovery.training)) for images in sampled]


class OnLadder(NamedTuple):
    """A prompt that is to climb: its position, the neurons to climb, and its plain samples so far."""

    prompt: Prompt
    position: int
    target: Target
    shown: Shown


@dataclass(frozen=True, slots=True)
class ClimbTask:
    """Prompts that climb the ladder together, as far as `reach`."""

    run: Path
    rows: tuple[OnLadder, ...]
    reach: Reach | None

    def __str__(self) -> str:
        return f"recovery of {_named([row.prompt for row in self.rows])}"

    def discard(self) -> None:
        """Delete what a process that was killed in the middle had not written to the end."""
        _discard(self.run, [row.prompt for row in self.rows])

    def perform(self, recovery: Recovery, advance: Advance) -> list[Shown]:
        """Take every prompt up the ladder until an attempt confirms a memory or `reach` is tried: what each showed."""
        climbing = [
            Climbing(recovery, row.prompt, row.position, row.target, Shown(row.shown.sampled, [*row.shown.nearest]))
            for row in self.rows
        ]
        n = recovery.plan.n_samples
        for batch in batches_of(climbing, n, recovery.batch_size):  # one, unless batches have become smaller
            sample_(Here(recovery), batch, n)
            ladder = [prompt.on_ladder for prompt in batch]
            climb_ladder(recovery.strategies, ladder, recovery.store, partial(_confirms, batch, advance), self.reach)
            for prompt in batch:
                _finish_(prompt)
        advance(len(climbing))
        return [prompt.shown for prompt in climbing]


@dataclass(frozen=True, slots=True)
class Here:
    """Performs tasks in this process, in their order."""

    recovery: Recovery

    def perform(self, tasks: Iterable[Any], advance: Advance) -> Iterator[tuple[Any, Any]]:
        """Yield each task and its result."""
        return ((task, task.perform(self.recovery, advance)) for task in tasks)


def sample_(performer: Performer, prompts: Sequence[Climbing], n: int) -> None:
    """Bring prompts to `n` plain samples, from disk or else sampled in batches and kept; more are left as they are."""
    missing: dict[int, list[Climbing]] = {}
    for climbing in prompts:
        recovery, first = climbing.recovery, len(climbing.shown.sampled)
        if first >= n:
            continue
        plan = replace(recovery.plan, n_samples=n)
        images = load_images(climbing.folder, climbing.prompt.text, plan, recovery.fingerprint, first)
        if images is None:
            missing.setdefault(first, []).append(climbing)
        else:
            climbing.shown.add_samples(images, nearest_of(images, recovery.training))
    tasks = [
        SampleTask(batch[0].recovery.run, tuple(climbing.prompt for climbing in batch), first, n)
        for first, rows in missing.items()
        for batch in batches_of(rows, n - first, rows[0].recovery.batch_size)
    ]
    by_id = {climbing.prompt.prompt_id: climbing for rows in missing.values() for climbing in rows}
    with track("sampling", len(by_id), "prompts") as advance:
        for task, sampled in performer.perform(tasks, advance):
            for prompt, samples in zip(task.prompts, sampled, strict=True):
                by_id[prompt.prompt_id].shown.add_samples(samples.images, samples.nearest)


def samples_of(
    recovery: Recovery, performer: Performer, prompts: Sequence[Prompt], n: int, what: str, unit: str = "prompts"
) -> Iterator[tuple[Prompt, Sampled]]:
    """Yield each prompt with its first `n` plain samples: from disk, or else sampled in batches and kept.

    The batches do not depend on what is on the disk, so that an interrupted run rounds like another. What is on the
    disk comes first.

    Args:
        what, unit: of the progress.
    """
    plan, tasks = replace(recovery.plan, n_samples=n), list[SampleTask]()
    with track(what, len(prompts), unit) as advance:
        for batch in batches_of(prompts, n, recovery.batch_size):
            missing = []
            for prompt in batch:
                folder = recovery.run / IMAGES_DIRECTORY / prompt.prompt_id
                images = load_images(folder, prompt.text, plan, recovery.fingerprint)
                if images is None:
                    missing.append(prompt)
                else:
                    yield prompt, Sampled(images, nearest_of(images, recovery.training))
                    advance()
            if missing:
                tasks.append(SampleTask(recovery.run, tuple(missing), 0, n))
        for task, sampled in performer.perform(tasks, advance):
            yield from zip(task.prompts, sampled, strict=True)


def batches_of(prompts: Sequence[PromptT], n_images: int, batch_size: int) -> Iterator[Sequence[PromptT]]:
    """Yield as many prompts at a time as fit into one call of the pipeline with so many images each."""
    per_call = max(1, batch_size // n_images)
    for first in range(0, len(prompts), per_call):
        yield prompts[first : first + per_call]


def _confirms(climbing: Sequence[Climbing], advance: Advance, index: int, strategy: Strategy, attempt: Attempt) -> bool:
    advance(0)  # a sign of life
    return climbing[index].add(attempt, strategy).verdict == "confirmed"


def _finish_(climbing: Climbing) -> None:
    """End a prompt's climb: score its samples by the image detectors, and keep them small."""
    first = climbing.shown.sampled[: climbing.recovery.plan.n_samples]
    climbing.shown.measured = _measure(climbing.recovery, climbing.prompt, first)
    climbing.reduce_samples()


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


def _named(prompts: Sequence[Prompt]) -> str:
    others = len(prompts) - 1
    return prompts[0].prompt_id + (f" and {others} more" if others else "")


def _discard(run: Path, prompts: Sequence[Prompt]) -> None:
    for prompt in prompts:
        for name in (IMAGES_DIRECTORY, RECOVERY_DIRECTORY):
            undo_cut_off(run / name / prompt.prompt_id)
