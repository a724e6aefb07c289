"""What ordinary prompts brought out, sampled once each: `propensity.parquet`, and its counts in run.json."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field

from flashbulb.reports.tables.rates import Rate, rate_of
from flashbulb.reports.tables.schema import VERBATIM, required_column

OrdinarySource = Literal["reference", "unflagged"]
ComparedWith = Literal["training_images", "findings"]

PROPENSITY_SCHEMA = pa.schema(
    [
        *(required_column(name, pa.string()) for name in ("prompt_id", "prompt", "source_file")),
        required_column("source_row", pa.int64()),
        pa.field("image_path", pa.string()),
        pa.field("nearest_image", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("kind", pa.string()),
        pa.field("finding_id", pa.string()),
        required_column("n_recurring", pa.int32()),
        required_column("is_copy", pa.bool_()),
    ]
)


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
    n_pool: Annotated[int, Field(ge=0)]
    compared_with: ComparedWith
    copies: Rate
    n_images: Annotated[int, Field(ge=0)]
    recurring: Rate


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
