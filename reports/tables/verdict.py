"""The counts of an audit, and the verdict on them."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "untrusted"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 1, "untrusted": 3}


@dataclass(frozen=True, slots=True)
class Results:
    """The counts of an audit; `problems` are reasons to distrust it, such as a site that did not fire.

    The optional counts are None until the tables are read, or if they were not measured. A policy that limits a count
    that is None cannot be checked, so the audit is then untrusted.

    Args:
        n_left_out: prompts scored by tier 0 alone.
        n_untried: flagged prompts that recovery was not tried on.
        style_shift: AUC with which the text alone separates candidate from reference prompts.
        n_ordinary_copies: ordinary prompts whose only sample copied a training image; None if none were sampled, or
            without training images.
    """

    status: str
    n_prompts: int
    n_scored: int
    n_flagged: int
    n_high: int
    n_confirmed_pictures: int
    n_recovered: int
    n_controls: int
    n_false_recoveries: int
    fpr: float
    problems: tuple[str, ...]
    n_medium: int | None = None
    n_low: int | None = None
    n_left_out: int | None = None
    n_untried: int | None = None
    style_shift: float | None = None
    n_ordinary_copies: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, its exit code, and the sentences that explain it."""

    outcome: Outcome
    exit_code: int
    reasons: tuple[str, ...]
