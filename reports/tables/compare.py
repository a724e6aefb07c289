"""The results of a comparison of two models: `compare.parquet`, its record in `run.json`, and what changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

import pyarrow as pa
from pydantic import JsonValue

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.tables.record_files import Count
from flashbulb.reports.tables.run_record import ModelIdentity
from flashbulb.reports.tables.schema import TableRow, required_column

COMPARE_FILE, COMPARE_PAGE, COMPARE_MARKDOWN = "compare.parquet", "compare.html", "compare.md"
BASE, FINETUNE = "base", "finetune"
"""The two models, as columns and folders of images name them."""

Sign = Literal["copies", "repeats"]
_SIGNS = {"copies": "copies a training image", "repeats": "gives one image for at least half of the seeds, and two,"}

COMPARE_SCHEMA = pa.schema(
    [
        *(required_column(name, pa.string()) for name in ("prompt_id", "prompt", "source_file")),
        required_column("source_row", pa.int64()),
        required_column("is_control", pa.bool_()),
        required_column("image_index", pa.int32()),
        required_column("tile_distance", pa.float64()),
        *(
            column
            for side in (BASE, FINETUNE)
            for column in (
                required_column(f"image_path_{side}", pa.string()),
                required_column(f"seed_agreement_{side}", pa.float64()),
                required_column(f"seed_distance_{side}", pa.float64()),
                required_column(f"repeats_{side}", pa.bool_()),
                pa.field(f"nearest_image_{side}", pa.string()),
                pa.field(f"similarity_{side}", pa.float64()),
                pa.field(f"kind_{side}", pa.string()),
            )
        ),
        *(pa.field(name, pa.float64()) for name in ("spike_score", "p_value")),
        pa.field("severity", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class ComparisonRecord:
    """The complete `run.json` of a finished comparison.

    Args:
        base, model: the base, and the fine-tune.
        n_left_out: prompts beyond the limit, which were not sampled.
        has_training_images: images were compared with training images.
        evaluations: UE of sampling, by model.
        tables: SHA-256 of each table, by file name.
    """

    schema_version: int
    status: str
    base: ModelIdentity
    model: ModelIdentity
    settings: Mapping[str, JsonValue]
    n_prompts: Count
    n_left_out: Count
    has_training_images: bool
    evaluations: Mapping[str, Count]
    versions: Mapping[str, str]
    tables: Mapping[str, str]


class NearestImage(NamedTuple):
    """A training image, how similar a sample is to it, and the kind of copy; None if the sample copies none."""

    path: str
    similarity: float
    kind: str | None


@dataclass(frozen=True, slots=True)
class Side:
    """The images that one model gives for a prompt, one a seed.

    Args:
        images: files relative to the directory of the comparison.
        agreement: share of seeds in the largest group that shows the same image.
        seed_distance: mean tile distance of an image to the nearest other one.
        repeats: at least half of the seeds, and two, show the same image.
        nearest: the training image nearest to each image; empty without training images.
    """

    images: tuple[str, ...]
    agreement: float
    seed_distance: float
    repeats: bool
    nearest: tuple[NearestImage, ...]

    @property
    def n_copies(self) -> int:
        """Number of images that copy a training image."""
        return sum(nearest.kind is not None for nearest in self.nearest)

    @property
    def best(self) -> NearestImage | None:
        """The training image that an image copies best, or else comes nearest to."""
        return max(self.nearest, key=lambda nearest: (nearest.kind is not None, nearest.similarity), default=None)

    @property
    def copies(self) -> bool:
        """Whether an image copies a training image."""
        return self.n_copies > 0


@dataclass(frozen=True, slots=True)
class PromptComparison:
    """What two models make of a prompt at the same seeds.

    Args:
        distances: tile distance between the images of the two models, by seed.
        spike_score, p_value, severity: of the audit that named the prompt; None without one.
    """

    prompt_id: str
    prompt: str
    source_file: str
    source_row: int
    is_control: bool
    distances: tuple[float, ...]
    base: Side
    finetune: Side
    spike_score: float | None
    p_value: float | None
    severity: str | None

    @property
    def distance(self) -> float:
        """Median over seeds of the distance between the two models' images."""
        return median(self.distances)

    @property
    def gain(self) -> tuple[int, float, float]:
        """How far the images changed towards copying: more copies, then more agreement, then nearer seeds."""
        base, finetune = self.base, self.finetune
        return (
            finetune.n_copies - base.n_copies,
            finetune.agreement - base.agreement,
            base.seed_distance - finetune.seed_distance,
        )


class Comparison(NamedTuple):
    """A finished comparison; prompts that changed most towards copying come first."""

    record: ComparisonRecord
    prompts: tuple[PromptComparison, ...]

    @property
    def signs(self) -> tuple[Sign, ...]:
        """The signs of copying that were looked for: copies need training images."""
        return ("copies", "repeats") if self.record.has_training_images else ("repeats",)

    def counted(self, sign: Sign, *, base: bool, finetune: bool, is_control: bool) -> int:
        """Count the prompts, or the controls, that have a sign of copying in these models and in no other."""
        wanted = (base, finetune, is_control)
        return sum((*sign_of(prompt, sign), prompt.is_control) == wanted for prompt in self.prompts)


def sign_of(prompt: PromptComparison, sign: Sign) -> tuple[bool, bool]:
    """Return whether a prompt has a sign of copying in the base, and in the fine-tune."""
    if sign == "copies":
        return prompt.base.copies, prompt.finetune.copies
    return prompt.base.repeats, prompt.finetune.repeats


def read_comparisons(rows: Sequence[TableRow]) -> tuple[PromptComparison, ...]:
    """Summarize the rows of `compare.parquet`, in which those of a prompt are together, in the order of their seeds."""
    by_prompt = [list(group) for _, group in groupby(rows, key=lambda row: row["prompt_id"])]
    return tuple(sorted(map(_comparison_of, by_prompt), key=lambda compared: compared.gain, reverse=True))


def _comparison_of(rows: Sequence[TableRow]) -> PromptComparison:
    first = rows[0]
    named = ("prompt_id", "prompt", "source_file", "source_row", "is_control", "spike_score", "p_value", "severity")
    return PromptComparison(
        **{name: first[name] for name in named},
        distances=tuple(row["tile_distance"] for row in rows),
        base=_side_of(rows, BASE),
        finetune=_side_of(rows, FINETUNE),
    )


def _side_of(rows: Sequence[TableRow], side: str) -> Side:
    first = rows[0]
    nearest = [
        NearestImage(*(row[f"{name}_{side}"] for name in ("nearest_image", "similarity", "kind"))) for row in rows
    ]
    return Side(
        images=tuple(row[f"image_path_{side}"] for row in rows),
        agreement=first[f"seed_agreement_{side}"],
        seed_distance=first[f"seed_distance_{side}"],
        repeats=first[f"repeats_{side}"],
        nearest=tuple(nearest) if first[f"nearest_image_{side}"] is not None else (),
    )


def comparison_sentences(compared: Comparison) -> Iterator[str]:
    """Yield what came out: at how many prompts, and controls, only the fine-tune has each sign of copying."""
    n_controls = sum(prompt.is_control for prompt in compared.prompts)
    groups = (("prompt", len(compared.prompts) - n_controls, False), ("control", n_controls, True))
    for sign in compared.signs:
        for noun, n, is_control in groups:
            if n > 0:
                new, both, old = (
                    compared.counted(sign, base=base, finetune=finetune, is_control=is_control)
                    for base, finetune in ((False, True), (True, True), (True, False))
                )
                yield (
                    f"at {new} of {count_text(n, noun)} the fine-tune {_SIGNS[sign]} and the base does not; both do at "
                    f"{both}, the base alone at {old}"
                )
    if compared.record.n_left_out:
        yield f"{count_text(compared.record.n_left_out, 'prompt')} beyond --max-prompts left out"


def comparison_lines(compared: Comparison, directory: Path) -> Iterator[str]:
    """Yield the lines that a comparison prints; the last one names the page."""
    yield from comparison_sentences(compared)
    yield f"Read {directory / COMPARE_PAGE}"
