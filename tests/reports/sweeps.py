"""Sweeps of made-up checkpoints."""

from collections.abc import Sequence

from flashbulb.reports.tables.sweep import Sweep, SweepRow
from flashbulb.reports.tables.verdict import Outcome


def sweep_row(
    step: int,
    n_flagged: int = 10,
    n_confirmed: int = 0,
    gate: Outcome = "pass",
    excess: tuple[float, float] | None = (0.1, 1.5),
    name: str = "",
) -> SweepRow:
    """Return the row of a checkpoint with 1000 prompts."""
    median, top = excess or (None, None)
    checkpoint = name or f"checkpoint-{step}"
    return SweepRow(
        checkpoint=checkpoint,
        kind="LoRA",
        step=step,
        model_fingerprint=f"{step:016x}",
        n_prompts=1000,
        n_flagged=n_flagged,
        median_excess=median,
        top_excess=top,
        n_confirmed_images=n_confirmed,
        n_confirmed_prompts=2 * n_confirmed,
        gate=gate,
        reasons=(f"Reason of {step}.",),
        run=checkpoint,
    )


def sweep_of(rows: Sequence[SweepRow], unit: str = "step") -> Sweep:
    """Return a sweep with these rows."""
    policy = {"max_high": 0, "max_medium": None}
    return Sweep(unit, tuple(rows), 0.01, "captions.csv", "clean.txt", None, policy, strict=False)


ONSET = sweep_of(
    [
        sweep_row(10),
        sweep_row(30, 12),
        sweep_row(100, 25, 1, "fail", (0.2, 4.0)),
        sweep_row(300, 30, 4, "fail", (0.3, 9.0)),
    ]
)
"""Copying begins at the third of four checkpoints."""
