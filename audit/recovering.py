"""Sample the flagged prompts and as many controls, keep the pictures, and judge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.evidence import Pictures
from audit.findings import Outcome, group_findings, judge
from audit.progress import track
from audit.prompts import Prompt
from audit.recover.sample import SamplePlan, load_pictures, sample_prompts, save_pictures
from audit.training_images import TrainingImages
from reports.files import IMAGES_DIRECTORY

_LATENTS_AT_ONCE = 32


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
) -> list[Sampled]:
    """Sample flagged and control prompts, a few at a time; pictures already on disk from the same plan are kept."""
    flagged, controls = positions
    order = [*flagged, *controls]
    pictures: dict[int, Pictures] = {}
    for position in order:
        found = load_pictures(_folder(run, prompts[position]), prompts[position].text, plan, fingerprint)
        if found is not None:
            pictures[position] = found
    missing = [position for position in order if position not in pictures]
    per_call = max(1, _LATENTS_AT_ONCE // plan.n_samples)
    with track("sampling", len(order), "prompts", done=len(pictures)) as advance:
        for start in range(0, len(missing), per_call):
            chunk = missing[start : start + per_call]
            for position, sampled in zip(
                chunk, sample_prompts(pipe, [prompts[i].text for i in chunk], plan), strict=True
            ):
                pictures[position] = sampled
                if keep_images:
                    save_pictures(_folder(run, prompts[position]), sampled, prompts[position].text, plan, fingerprint)
            advance(len(chunk))
    outcomes = {position: judge(pictures[position], training) for position in order}
    numbers = group_findings([outcomes[i] for i in flagged], [pictures[i][outcomes[i].best] for i in flagged])
    results = [
        Sampled(position, False, outcomes[position], number, None)
        for position, number in zip(flagged, numbers, strict=True)
    ]
    results += [Sampled(position, True, outcomes[position], None, None) for position in controls]
    if not keep_images:
        return results
    return [replace(s, image_path=_best_path(run, prompts[s.position], s.outcome)) for s in results]


def _folder(run: Path, prompt: Prompt) -> Path:
    return run / IMAGES_DIRECTORY / prompt.prompt_id


def sample_paths(run: Path, prompt: Prompt, n_samples: int) -> tuple[Path, ...]:
    """Where the samples of a prompt are kept."""
    return tuple(_folder(run, prompt) / f"seed-{index}.png" for index in range(n_samples))


def _best_path(run: Path, prompt: Prompt, outcome: Outcome) -> str:
    return (_folder(run, prompt) / f"seed-{outcome.best}.png").relative_to(run).as_posix()
