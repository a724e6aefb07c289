"""Sample the flagged prompts and as many controls, keep the pictures, and judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from diffusers import StableDiffusionPipeline

from audit.denoiser import Denoiser
from audit.detectors import PictureDetector
from audit.evidence import Picture, Pictures
from audit.findings import Outcome, group_findings, judge
from audit.progress import track
from audit.prompts import Prompt
from audit.recover.sample import SamplePlan, load_pictures, picture_name, sample_prompts, save_pictures
from audit.sampled_prompt import SampledPrompt
from audit.training_images import TrainingImages
from reports.files import IMAGES_DIRECTORY


@dataclass(frozen=True, slots=True)
class Sampled:
    """One prompt that was sampled: its position among the candidates, what came out, and where it is kept.

    `measured` holds what each picture detector says of its pictures, by name.
    """

    position: int
    is_control: bool
    outcome: Outcome
    finding: int | None
    image_path: str | None
    measured: Mapping[str, float]


def choose(
    spike_score: npt.NDArray[np.float64], flagged: npt.NDArray[np.bool_], limit: int, seed: int
) -> tuple[list[int], list[int]]:
    """Positions of the flagged prompts, highest score first, at most `limit`; and of as many random controls."""
    ranked = [int(i) for i in np.argsort(-spike_score, kind="stable") if flagged[i]][:limit]
    unflagged = np.flatnonzero(~flagged)
    n_controls = min(len(ranked), len(unflagged))
    controls = np.random.default_rng(seed).choice(unflagged, size=n_controls, replace=False)
    return ranked, sorted(int(i) for i in controls)


def sample_all(
    denoiser: Denoiser,
    detectors: Sequence[PictureDetector],
    prompts: Sequence[Prompt],
    positions: tuple[Sequence[int], Sequence[int]],
    plan: SamplePlan,
    *,
    run: Path,
    fingerprint: str,
    training: TrainingImages | None,
    keep_images: bool,
    batch_size: int,
) -> list[Sampled]:
    """Sample flagged and control prompts; pictures already on disk from the same plan and model are kept.

    Of each prompt only the picture that stands for it stays in memory.

    Args:
        batch_size: pictures in one call of the pipeline.
    """
    flagged, controls = positions
    order = [*flagged, *controls]
    folders = {position: run / IMAGES_DIRECTORY / prompts[position].prompt_id for position in order}
    outcomes: dict[int, Outcome] = {}
    best: dict[int, Picture] = {}
    measured: dict[int, dict[str, float]] = {}
    per_call = max(1, batch_size // plan.n_samples)
    with track("sampling", len(order), "prompts") as advance:
        for start in range(0, len(order), per_call):
            chunk = order[start : start + per_call]
            texts = {folders[position]: prompts[position].text for position in chunk}
            all_pictures = _sample_chunk(denoiser.pipe, texts, plan, fingerprint, keep_images)
            for position, pictures in zip(chunk, all_pictures, strict=True):
                outcomes[position] = judge(pictures, training)
                best[position] = pictures[outcomes[position].best]
                measured[position] = _measure(denoiser, detectors, prompts[position], pictures, plan)
            advance(len(chunk))
    numbers = group_findings([outcomes[i] for i in flagged], [best[i] for i in flagged])
    findings = dict(zip(flagged, numbers, strict=True))
    return [
        Sampled(
            position,
            is_control=position not in findings,
            outcome=outcomes[position],
            finding=findings.get(position),
            image_path=_relative(run, folders[position], outcomes[position].best) if keep_images else None,
            measured=measured[position],
        )
        for position in order
    ]


def _measure(
    denoiser: Denoiser, detectors: Sequence[PictureDetector], prompt: Prompt, pictures: Pictures, plan: SamplePlan
) -> dict[str, float]:
    if not detectors:
        return {}
    tokens = denoiser.tokenize([prompt.text])
    sampled = SampledPrompt(
        denoiser=denoiser,
        pictures=pictures,
        prompt_embeds=denoiser.embed(tokens),
        classes=tokens.classes,
        last_timestep=denoiser.last_timestep(plan.num_inference_steps),
        generator_seed=plan.run_seed,
    )
    return {detector.name: detector.measure(sampled) for detector in detectors}


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


def _relative(run: Path, folder: Path, index: int) -> str:
    return (folder / picture_name(index)).relative_to(run).as_posix()


def sample_paths(run: Path, prompt: Prompt, n_samples: int) -> tuple[Path, ...]:
    """Where the samples of a prompt are kept."""
    return tuple(run / IMAGES_DIRECTORY / prompt.prompt_id / picture_name(index) for index in range(n_samples))
