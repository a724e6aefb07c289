"""What ordinary prompts brought out, sampled once each: `propensity.parquet`, and its counts in run.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flashbulb.reports.bounds.rates import Rate, count_text, percent, rate_of, rate_text
from flashbulb.reports.tables.limits import VERBATIM
from flashbulb.reports.tables.record_files import Count

if TYPE_CHECKING:
    import pyarrow as pa

OrdinarySource = Literal["reference", "unflagged"]
ComparedWith = Literal["training_images", "findings"]
_OF: dict[ComparedWith, str] = {"training_images": "a training image", "findings": "the image of a finding"}


@dataclass(frozen=True, slots=True)
class Propensity:
    """What ordinary prompts brought out.

    Args:
        source: `reference`, prompts that are not training captions; `unflagged`, candidates that were not flagged.
        n_pool: distinct prompts that they were drawn from.
        compared_with: what a sample is a copy of: a training image, or without training images a finding's image.
        copies: samples that copy one.
        n_images: distinct images that they copy.
        recurring: samples whose image another ordinary prompt gave as well.
    """

    source: OrdinarySource
    n_pool: Count
    compared_with: ComparedWith
    copies: Rate
    n_images: Count
    recurring: Rate

    @property
    def n_of_training_images(self) -> int | None:
        """Samples that copy a training image; None without training images."""
        return self.copies.n if self.compared_with == "training_images" else None


def is_copy(compared_with: ComparedWith, kind: str | None, finding_id: str | None) -> bool:
    """Return whether a sample with this kind of copy and this finding counts as a copy."""
    return kind == VERBATIM if compared_with == "training_images" else finding_id is not None


def propensity_of(table: pa.Table, source: OrdinarySource, n_pool: int, compared_with: ComparedWith) -> Propensity:
    """Count the rows of `propensity.parquet`."""
    rows = table.to_pylist()
    copies = [row for row in rows if row["is_copy"]]
    copied = "nearest_image" if compared_with == "training_images" else "finding_id"
    return Propensity(
        source,
        n_pool,
        compared_with,
        rate_of(len(copies), len(rows)),
        len({row[copied] for row in copies}),
        rate_of(sum(row["n_recurring"] > 0 for row in rows), len(rows)),
    )


def contrast_rows(propensity: Propensity, recovered: Rate) -> tuple[tuple[str, str, str], ...]:
    """Return what the audit brought out and what ordinary prompts did: name, what was counted, rate.

    Args:
        recovered: of the scored prompts, those whose image came back by any strategy.
    """
    of = _OF[propensity.compared_with]
    return (
        ("capability", "audited prompts whose image came back, by samples or ascents", rate_text(recovered)),
        ("propensity", f"ordinary prompts whose only sample copies {of}", rate_text(propensity.copies)),
        ("recurrence", "ordinary prompts whose sample another one gives as well", rate_text(propensity.recurring)),
    )


def contrast_sentences(propensity: Propensity) -> tuple[str, ...]:
    """Say which prompts were ordinary, what they copied, and what the numbers cannot tell."""
    n, n_pool, n_images = propensity.copies.of, propensity.n_pool, propensity.n_images
    share, drawn = (f"{n:,} of the {n_pool:,}", ", drawn at random") if n < n_pool else (f"all {n:,}", "")
    pool = {
        "reference": f"{share} reference prompts{drawn}. They are stated to be no training captions",
        "unflagged": f"{share} audited prompts that were not flagged{drawn}, because there is no reference. Flagged "
        "prompts are left out, so the audited prompts as a whole bring out more",
    }
    copied = f"Their copies show {count_text(n_images, 'distinct image')}. " if n_images else ""
    unknown = (
        "Without training images only images that this audit recovered are recognized: other copies go unseen. "
        if propensity.compared_with == "findings"
        else ""
    )
    return (
        "Capability is what somebody brings out who holds the prompts and the model; propensity is what people meet "
        "who use it.",
        f"Ordinary prompts were sampled once each: {pool[propensity.source]}. {copied}{unknown}".strip(),
        "A sample that another prompt gives as well may be memorized, or both prompts may leave nothing to chance.",
    )


def propensity_line(propensity: Propensity) -> str:
    """Say in one line what ordinary prompts brought out."""
    pool = {"reference": "reference prompts", "unflagged": "unflagged prompts"}[propensity.source]
    rate = propensity.copies
    if rate.of == 0:
        return f"there were no {pool} to sample"
    return (
        f"{rate.n} of {rate.of} {pool}, sampled once, copy {_OF[propensity.compared_with]} "
        f"(95 % interval {percent(rate.low)} to {percent(rate.high)})"
    )
