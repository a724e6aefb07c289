"""The policy: what an audit may find and still pass, written in TOML. The default allows no memorized image."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flashbulb.reports.gate.toml_file import read_toml

Limit = Annotated[int, Field(ge=0)] | None
Share = Annotated[float, Field(ge=0, le=1)] | None
FLAGGED_SEVERITIES = ("high", "medium", "low")


class Policy(BaseModel):
    """Limits of the gate, all inclusive; None means no limit.

    Counts are of distinct prompts with that severity, rates their share of the scored prompts, 0 to 1. Coverage, tiers,
    style and false recoveries decide whether an audit is trusted, power whether it is conclusive. All other limits
    decide whether it passes.

    Args:
        max_confirmed: distinct memorized images confirmed.
        max_extractable_share: share of the prompts whose image may be extractable. Fails if more gave their image.
        min_power: probability with which the audit would have found more than it did, had that share been extractable.
            Below it, the audit is inconclusive.
        max_ordinary_copies: ordinary prompts whose only sample copied a training image, if they were sampled.
        max_false_recovery_rate: share of the controls that gave an image.
        min_coverage: share of the prompts that must have been scored.
        required_tiers: 1, no prompt was screened only; 3, recovery was tried on every flagged prompt.
        max_style_shift: how well the text alone separates candidates from reference prompts (AUC; 0.5 is chance).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_high: Limit = 0
    max_medium: Limit = None
    max_low: Limit = None
    max_high_rate: Share = None
    max_medium_rate: Share = None
    max_low_rate: Share = None
    max_flagged_rate: Share = None
    max_confirmed: Limit = 0
    max_extractable_share: Annotated[float, Field(gt=0, le=1)] | None = 0.01
    min_power: Annotated[float, Field(ge=0, lt=1)] | None = 0.95
    max_ordinary_copies: Limit = 0
    max_false_recovery_rate: Share = 0.1
    min_coverage: Annotated[float, Field(gt=0, le=1)] = 1.0
    required_tiers: Annotated[tuple[Literal[1, 3], ...], Field(strict=False)] = ()
    max_style_shift: Annotated[float, Field(ge=0.5, le=1)] | None = None

    @field_validator("required_tiers", mode="before")
    @classmethod
    def _check_tiers_are_integers(cls, tiers: Any) -> Any:
        """Refuse True and 1.0, which equal 1 and would pass as the literal."""
        invalid = [tier for tier in tiers if type(tier) is not int] if isinstance(tiers, list | tuple) else []
        if invalid:
            raise ValueError(f"a tier should be 1 or 3, got {invalid[0]!r}")
        return tiers


def read_policy(path: Path | None) -> Policy:
    """Read a policy. Without a file, return the built-in one."""
    return Policy() if path is None else read_toml(path, Policy)
