"""What an ablation did to prompts: `ablation.parquet`, `run.json`, and the effect on each prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import JsonValue, TypeAdapter

from reports.files import RUN_FILE, RunFileError, RunIncompleteError
from reports.record_files import read_as, read_content
from reports.run_record import Count, ModelIdentity
from reports.schema import read_table, write_table

ABLATION_FILE = "ablation.parquet"
ABLATION_PAGE = "ablation.md"
PANELS_DIRECTORY = "panels"
ABLATION, ABLATION_RUNNING = "ablation", "ablating"
"""Statuses in the run.json of an ablation: finished, and not yet."""

_NUMBERS = (
    "tile_distance",
    "seed_diversity_before",
    "seed_diversity_after",
    "seed_agreement_before",
    "seed_agreement_after",
)
ABLATION_SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("image_index", pa.int32(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in _NUMBERS),
        pa.field("text_conditional_noise_before", pa.float64()),
        pa.field("text_conditional_noise_after", pa.float64()),
        pa.field("before_path", pa.string(), nullable=False),
        pa.field("after_path", pa.string(), nullable=False),
        pa.field("panel_path", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class NeuronsIdentity:
    """Which neurons were ablated: of which file, with which content.

    Args:
        fingerprint: of the model the file says they belong to; None if it does not say.
    """

    file: str
    sha256: str
    n_sites: Count
    n_neurons: Count
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class AblationRecord:
    """The whole of an ablation's `run.json`, readable as soon as `status` is "ablation".

    Args:
        evaluations: UE of all samplings, before and after.
        tables: SHA-256 of the table's file, by file name.
    """

    schema_version: int
    status: str
    model: ModelIdentity
    neurons: NeuronsIdentity
    settings: Mapping[str, JsonValue]
    n_prompts: Count
    evaluations: Mapping[str, Count]
    versions: Mapping[str, str]
    tables: Mapping[str, str]


class BeforeAfter(NamedTuple):
    """One number before the ablation and after it."""

    before: float
    after: float


@dataclass(frozen=True, slots=True)
class PromptEffect:
    """What an ablation did to one prompt.

    Args:
        distances: by seed, the tile distance of the picture after the ablation from the one before.
        diversity: median tile distance between two seeds.
        agreement: share of seeds in the largest group that shows one picture.
        noise: text-conditional noise of the first step, mean over seeds; None without guidance.
        before, after: the pictures' files, by seed, relative to the folder of the ablation.
    """

    prompt_id: str
    prompt: str
    distances: tuple[float, ...]
    diversity: BeforeAfter
    agreement: BeforeAfter
    noise: BeforeAfter | None
    before: tuple[str, ...]
    after: tuple[str, ...]
    panel: str

    @property
    def distance(self) -> float:
        """Median over seeds of the tile distance between before and after."""
        return median(self.distances)


def effect_of(rows: Sequence[Mapping[str, Any]]) -> PromptEffect:
    """Summarize the rows of `ablation.parquet` that belong to one prompt, in the order of their seeds."""
    first = rows[0]
    noises = [(row["text_conditional_noise_before"], row["text_conditional_noise_after"]) for row in rows]
    known = all(before is not None and after is not None for before, after in noises)
    return PromptEffect(
        prompt_id=first["prompt_id"],
        prompt=first["prompt"],
        distances=tuple(row["tile_distance"] for row in rows),
        diversity=BeforeAfter(first["seed_diversity_before"], first["seed_diversity_after"]),
        agreement=BeforeAfter(first["seed_agreement_before"], first["seed_agreement_after"]),
        noise=BeforeAfter(*map(fmean, zip(*noises, strict=True))) if known else None,
        before=tuple(row["before_path"] for row in rows),
        after=tuple(row["after_path"] for row in rows),
        panel=first["panel_path"],
    )


def effects_of(table: pa.Table) -> list[PromptEffect]:
    """Summarize every prompt of an `ablation.parquet`, in its order."""
    return [effect_of(rows) for rows in _by_prompt(table).values()]


def write_effects(directory: Path, rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, str]) -> pa.Table:
    """Write `ablation.parquet`, a row a prompt and seed, whole or not at all."""
    table = pa.Table.from_pylist(list(rows), schema=ABLATION_SCHEMA)
    write_table(directory / ABLATION_FILE, table, ABLATION_SCHEMA, metadata)
    return table


def finished_rows(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of an unfinished or finished ablation by prompt_id, of prompts whose pictures are all there.

    A table that is missing or torn holds none: its prompts are sampled anew.
    """
    try:
        table = read_table(directory / ABLATION_FILE, ABLATION_SCHEMA)
    except RunIncompleteError:
        return {}
    columns = ("before_path", "after_path", "panel_path")
    return {
        prompt_id: rows
        for prompt_id, rows in _by_prompt(table).items()
        if all((directory / row[column]).is_file() for row in rows for column in columns)
    }


def _by_prompt(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        by_prompt.setdefault(row["prompt_id"], []).append(row)
    return by_prompt


_ADAPTER = TypeAdapter(AblationRecord)


def load_ablation(directory: Path) -> AblationRecord:
    """Read the record of a finished ablation, or say in one line why there is none to read.

    Raises:
        RunFileError: no ablation, or one of another version.
        RunIncompleteError: one that did not finish or is damaged.
    """
    path = directory / RUN_FILE
    content = read_content(directory, "ablation")
    status = content.get("status")
    if status == ABLATION_RUNNING:
        raise RunIncompleteError(f"{path}: the ablation is not complete; run it again to finish it")
    if status != ABLATION:
        raise RunFileError(f"{path} is not of an ablation (status {status!r}); give the OUT of `engram ablate`")
    return read_as(_ADAPTER, path, content, "ablation")
