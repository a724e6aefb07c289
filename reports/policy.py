"""The policy: what an audit may find and still pass, written in TOML, with a default that allows no leak."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from reports.toml_file import read_toml

Limit = Annotated[int, Field(ge=0)] | None
Share = Annotated[float, Field(ge=0, le=1)] | None
FLAGGED_SEVERITIES = ("high", "medium", "low")


class Policy(BaseModel):
    """Limits of the gate; None is no limit, and a limit is itself still allowed.

    Counts and rates are of distinct prompts, by severity, rates of the prompts that were scored. `required_tiers`: 1,
    no prompt was left to the screening alone; 3, recovery was tried on every flagged prompt. `max_style_shift` limits
    how well words alone tell candidates from reference prompts (AUC, 0.5 not at all). Coverage, tiers, style and false
    recoveries decide whether an audit is trusted, all others whether it passes.
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
    max_false_recovery_rate: Share = 0.1
    min_coverage: Annotated[float, Field(gt=0, le=1)] = 1.0
    required_tiers: Annotated[tuple[Literal[1, 3], ...], Field(strict=False)] = ()
    max_style_shift: Annotated[float, Field(ge=0.5, le=1)] | None = None

    @field_validator("required_tiers", mode="before")
    @classmethod
    def _tiers_are_whole_numbers(cls, tiers: Any) -> Any:
        """True and 1.0 equal 1, and a literal takes them for it."""
        strange = [tier for tier in tiers if type(tier) is not int] if isinstance(tiers, list | tuple) else []
        if strange:
            raise ValueError(f"a tier should be 1 or 3, got {strange[0]!r}")
        return tiers


def read_policy(path: Path | None) -> Policy:
    """Read a policy; without a file it is the built-in one."""
    return Policy() if path is None else read_toml(path, Policy)
