"""The counts of an audit, and the verdict on them."""

from dataclasses import dataclass
from typing import Literal, get_args

Outcome = Literal["pass", "inconclusive", "fail", "untrusted"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""From best to worst. `inconclusive`: no limit is exceeded, but the audit could have missed too much to pass."""
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "inconclusive": 0, "fail": 1, "untrusted": 3}


def exit_code_of(outcome: Outcome, *, strict: bool) -> int:
    """Return the exit code of an outcome; if `strict`, an inconclusive audit has that of an untrusted one."""
    return EXIT_CODES["untrusted" if strict and outcome == "inconclusive" else outcome]


@dataclass(frozen=True, slots=True)
class Results:
    """The counts of an audit; `problems` are reasons to distrust it, such as a site that did not fire.

    The optional counts are None until the tables are read, or if they were not measured. A policy that limits a count
    that is None cannot be checked, so the audit is then untrusted.

    Args:
        n_left_out: prompts scored by tier 0 alone.
        n_untried: flagged prompts that recovery was not tried on.
        style_shift: AUC with which the text alone separates candidate from reference prompts.
        sensitivity: lower bound of the share of memorized images that such an audit brings back; None if not known.
        sensitivity_gap: why it is not known.
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
    sensitivity: float | None = None
    sensitivity_gap: str | None = None
    n_ordinary_copies: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, its exit code, and the sentences that explain it."""

    outcome: Outcome
    exit_code: int
    reasons: tuple[str, ...]
