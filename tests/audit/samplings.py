"""Recovery that tries nothing but plain samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.attempts import AttemptStore
from flashbulb.audit.recover.climbing import Recovery
from flashbulb.audit.recover.ladder import Target
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.recover.recovery import recover_all
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.strategies.sample import Sample
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.statistics.flags import Chosen


def sampling_recovery(
    denoiser: Denoiser,
    run: Path,
    plan: SamplePlan,
    *,
    keep_images: bool = True,
    batch_size: int = 4,
    seed_budget: int = 0,
    training: Any = None,
) -> Recovery:
    """Build the recovery."""
    return Recovery(
        denoiser=denoiser,
        strategies=[Sample(denoiser, Verifier(denoiser, VerifyPlan(3, 2, 2, 4)), plan)],
        store=AttemptStore(run / "recovery", {"sample": "x"}, keep_images=keep_images),
        detectors=(),
        training=training,
        plan=plan,
        run=run,
        fingerprint="f",
        keep_images=keep_images,
        batch_size=batch_size,
        seed_budget=seed_budget,
    )


def recover_by_samples(
    denoiser: Denoiser,
    run: Path,
    plan: SamplePlan,
    prompts: Sequence[Prompt],
    positions: tuple[Sequence[int], Sequence[int]],
    **how: Any,
) -> list[Recovered]:
    """Sample the flagged prompts and the controls, and judge them.

    Args:
        how: of `sampling_recovery`.
    """
    targets = {i: Target(prompt.text, (), ()) for i, prompt in enumerate(prompts)}
    return recover_all(sampling_recovery(denoiser, run, plan, **how), prompts, Chosen(*positions), targets)
