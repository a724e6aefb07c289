"""Sample the flagged prompts and as many controls, keep the pictures, and judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.evidence import Picture, Pictures
from audit.findings import Outcome, group_findings, judge
from audit.progress import track
from audit.prompts import Prompt
from audit.recover.sample import SamplePlan, load_pictures, picture_name, sample_prompts, save_pictures
from audit.training_images import TrainingImages
from reports.files import IMAGES_DIRECTORY


@dataclass(frozen=True, slots=True)
class Sampled:
    """One prompt that was sampled: its position among the candidates, what came out, and where it is kept."""

    position: int
    is_control: bool
    outcome: Outcome
    finding: int | None
    image_path: str | None


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
    pipe: Any,
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
    per_call = max(1, batch_size // plan.n_samples)
    with track("sampling", len(order), "prompts") as advance:
        for start in range(0, len(order), per_call):
            chunk = order[start : start + per_call]
            texts = {folders[position]: prompts[position].text for position in chunk}
            all_pictures = _sample_chunk(pipe, texts, plan, fingerprint, keep_images)
            for position, pictures in zip(chunk, all_pictures, strict=True):
                outcomes[position] = judge(pictures, training)
                best[position] = pictures[outcomes[position].best]
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
        )
        for position in order
    ]


def _sample_chunk(
    pipe: Any, texts: Mapping[Path, str], plan: SamplePlan, fingerprint: str, keep_images: bool
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
