"""Take the flagged prompts and as many controls up the ladder of recovery, keep the pictures, and judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from diffusers import StableDiffusionPipeline

from audit.denoiser import Denoiser
from audit.detectors import PictureDetector
from audit.evidence import Picture, Pictures
from audit.findings import Outcome, group_findings, judge
from audit.fixed_part import FixedPart, fixed_part, save_mask
from audit.progress import track
from audit.prompts import Prompt
from audit.recover.ascend import Target
from audit.recover.ladder import Climber, Ladder
from audit.recover.rungs import Rung
from audit.recover.sample import SamplePlan, load_pictures, picture_name, sample_prompts, save_picture, save_pictures
from audit.sampled_prompt import SampledPrompt
from audit.training_images import Nearest, TrainingImages
from reports.files import IMAGES_DIRECTORY


@dataclass(frozen=True, slots=True)
class Tried:
    """One rung and what it showed; of its pictures only the one that stands for it stays in memory.

    Args:
        image_path: of that picture, relative to the run; None where no picture is kept.
        mask_path: of the picture's part that is the same at every seed, where that is a part and not the whole.
        training_picture: a file of the nearest training picture.
    """

    strategy: str
    restart: int
    evaluations: int
    outcome: Outcome
    picture: Picture
    image_path: str | None
    fixed_share: float
    mask_path: str | None
    training_picture: Path | None


@dataclass(slots=True)
class Recovered:
    """One prompt on the ladder: its position among the candidates, its rungs in order, and the finding it leads to.

    `measured` holds what each picture detector says of its samples, by name.
    """

    position: int
    is_control: bool
    rungs: list[Tried]
    measured: Mapping[str, float]
    finding: int | None = None

    @property
    def best(self) -> Tried:
        """The rung that shows most, the first of them."""
        order = ("not_shown", "likely", "confirmed")
        return max(self.rungs, key=lambda rung: order.index(rung.outcome.verdict))


@dataclass(frozen=True, slots=True)
class Recovery:
    """What every prompt's recovery shares.

    Args:
        strategies: those to try, sampling always among them.
        batch_size: pictures in one call of the pipeline.
    """

    denoiser: Denoiser
    ladder: Ladder
    detectors: Sequence[PictureDetector]
    training: TrainingImages | None
    plan: SamplePlan
    strategies: Sequence[str]
    run: Path
    fingerprint: str
    keep_images: bool
    batch_size: int


def choose(
    spike_score: npt.NDArray[np.float64], flagged: npt.NDArray[np.bool_], limit: int, seed: int
) -> tuple[list[int], list[int]]:
    """Positions of the flagged prompts, highest score first, at most `limit`; and of as many random controls."""
    ranked = [int(i) for i in np.argsort(-spike_score, kind="stable") if flagged[i]][:limit]
    unflagged = np.flatnonzero(~flagged)
    n_controls = min(len(ranked), len(unflagged))
    controls = np.random.default_rng(seed).choice(unflagged, size=n_controls, replace=False)
    return ranked, sorted(int(i) for i in controls)


def recover_all(
    recovery: Recovery,
    prompts: Sequence[Prompt],
    positions: tuple[Sequence[int], Sequence[int]],
    targets: Mapping[int, Target],
) -> list[Recovered]:
    """Take flagged and control prompts up the ladder, each until a rung confirms a memory.

    Rungs that are on disk from the same settings and model are kept.

    Args:
        targets: the neurons to ascend on, by position.
    """
    flagged, controls = positions
    order = [*flagged, *controls]
    per_call = max(1, recovery.batch_size // recovery.plan.n_samples)
    recovered: list[Recovered] = []
    with track("recovering", len(order), "prompts") as advance:
        for first in range(0, len(order), per_call):
            chunk = [_Prompt(recovery, prompts[i], i, targets[i]) for i in order[first : first + per_call]]
            recovered += _recover_chunk(recovery, chunk, set(flagged))
            advance(len(chunk))
    shown = [one for one in recovered if not one.is_control]
    numbers = group_findings([one.best.outcome for one in shown], [one.best.picture for one in shown])
    for one, number in zip(shown, numbers, strict=True):
        one.finding = number
    return recovered


@dataclass(slots=True)
class _Prompt:
    recovery: Recovery
    prompt: Prompt
    position: int
    target: Target
    sampled: Pictures = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    tried: list[Tried] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.recovery.run / IMAGES_DIRECTORY / self.prompt.prompt_id

    @property
    def climber(self) -> Climber:
        known = None
        if "known_image" in self.recovery.strategies and self.recovery.training is not None:
            nearest = self.tried[0].outcome.nearest if self.tried else None
            known = self.recovery.training.picture(nearest.index)[None] if nearest is not None else None
        return Climber(self.prompt.prompt_id, self.target, known)

    def add(self, rung: Rung) -> None:
        """Judge a rung and keep its picture."""
        recovery = self.recovery
        outcome = judge(
            rung.pictures, recovery.training, rung.signs, kinship=rung.kinship, is_pushed=rung.strategy != "sample"
        )
        part = fixed_part(rung.pictures)
        picture = rung.pictures[outcome.best]
        image, mask, nearest = None, None, None
        if recovery.keep_images:
            name = picture_name(outcome.best) if rung.strategy == "sample" else f"{rung.name}.png"
            image = self.folder / name
            if rung.strategy != "sample":
                save_picture(image, picture, self._stated(rung))
            mask = self._save_mask(part, rung.name)
            nearest = training_picture(recovery.training, outcome.nearest, self.folder)
        self.tried.append(
            Tried(
                rung.strategy,
                rung.restart,
                rung.evaluations,
                outcome,
                picture,
                _relative(recovery.run, image),
                part.share,
                _relative(recovery.run, mask),
                nearest,
            )
        )

    def _stated(self, rung: Rung) -> dict[str, object]:
        return {
            "prompt": self.prompt.text,
            "strategy": rung.strategy,
            "restart": rung.restart,
            "evaluations": rung.evaluations,
            "fingerprint": self.recovery.fingerprint,
            **self.recovery.ladder.settings_of(rung.strategy, rung.restart),
        }

    def _save_mask(self, part: FixedPart, name: str) -> Path | None:
        path = self.folder / f"{name}-fixed.png"
        return save_mask(path, part) if part.is_a_part else None


def _recover_chunk(recovery: Recovery, chunk: Sequence[_Prompt], flagged: set[int]) -> list[Recovered]:
    texts = {one.folder: one.prompt.text for one in chunk}
    pictures = _sample_chunk(recovery.denoiser.pipe, texts, recovery.plan, recovery.fingerprint, recovery.keep_images)
    for one, of_prompt in zip(chunk, pictures, strict=True):
        one.sampled = of_prompt
    first = recovery.ladder.sampled([one.climber for one in chunk], pictures, recovery.plan.evaluations)
    for one, rung in zip(chunk, first, strict=True):
        one.add(rung)
    for strategy, restart in recovery.ladder.rungs(recovery.strategies):
        pending = [one for one in chunk if one.tried[-1].outcome.verdict != "confirmed"]
        if not pending:
            break
        climbers, sampled = [one.climber for one in pending], [one.sampled for one in pending]
        for one, rung in zip(pending, recovery.ladder.climb(climbers, sampled, strategy, restart), strict=True):
            one.add(rung)
    return [
        Recovered(one.position, one.position not in flagged, one.tried, _measure(recovery, one.prompt, one.sampled))
        for one in chunk
    ]


def _measure(recovery: Recovery, prompt: Prompt, pictures: Pictures) -> dict[str, float]:
    if not recovery.detectors:
        return {}
    denoiser, plan = recovery.denoiser, recovery.plan
    tokens = denoiser.tokenize([prompt.text])
    sampled = SampledPrompt(
        denoiser=denoiser,
        pictures=pictures,
        prompt_embeds=denoiser.embed(tokens),
        classes=tokens.classes,
        last_timestep=denoiser.last_timestep(plan.num_inference_steps),
        generator_seed=plan.run_seed,
    )
    return {detector.name: detector.measure(sampled) for detector in recovery.detectors}


def _sample_chunk(
    pipe: StableDiffusionPipeline, texts: Mapping[Path, str], plan: SamplePlan, fingerprint: str, keep_images: bool
) -> list[Pictures]:
    """Pictures of a few prompts, each with the folder where it is kept: from there, or else sampled."""
    found = {folder: load_pictures(folder, text, plan, fingerprint) for folder, text in texts.items()}
    missing = [folder for folder, pictures in found.items() if pictures is None]
    if missing:
        sampled = sample_prompts(pipe, [texts[folder] for folder in missing], plan)
        for folder, pictures in zip(missing, sampled, strict=True):
            found[folder] = pictures
            if keep_images:
                save_pictures(folder, pictures, texts[folder], plan, fingerprint)
    return [pictures for pictures in found.values() if pictures is not None]


def _relative(run: Path, path: Path | None) -> str | None:
    return path.relative_to(run).as_posix() if path is not None else None


def training_picture(training: TrainingImages | None, nearest: Nearest | None, folder: Path) -> Path | None:
    """A file of the nearest training picture; one that lies inside a tar is written into `folder`."""
    if training is None or nearest is None or nearest.path.is_file():
        return nearest.path if nearest is not None else None
    path = folder / f"training-{nearest.index}.png"
    save_picture(path, training.picture(nearest.index), {"training_image": str(nearest.path)})
    return path


def sample_paths(run: Path, prompt: Prompt, n_samples: int) -> tuple[Path, ...]:
    """Where the samples of a prompt are kept."""
    return tuple(run / IMAGES_DIRECTORY / prompt.prompt_id / picture_name(index) for index in range(n_samples))
