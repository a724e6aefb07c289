"""The results of an ablation: `ablation.parquet`, its record in `run.json`, and the effect on each prompt."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import JsonValue

from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.tables.record_files import Count
from flashbulb.reports.tables.run_paths import path_in_run
from flashbulb.reports.tables.run_record import ModelIdentity
from flashbulb.reports.tables.schema import TableRow, read_table, required_column, write_table

logger = logging.getLogger(__name__)

ABLATION_FILE = "ablation.parquet"
ABLATION_PAGE = "ablation.md"
PANELS_DIRECTORY = "panels"

_MEASURES = (
    "tile_distance",
    "seed_diversity_before",
    "seed_diversity_after",
    "seed_agreement_before",
    "seed_agreement_after",
)
_ROWS_SHA256 = "rows_sha256"
_PATHS = ("before_path", "after_path", "panel_path")
ABLATION_SCHEMA = pa.schema(
    [
        required_column("prompt_id", pa.string()),
        required_column("prompt", pa.string()),
        required_column("image_index", pa.int32()),
        *(required_column(name, pa.float64()) for name in _MEASURES),
        pa.field("response_norm_before", pa.float64()),
        pa.field("response_norm_after", pa.float64()),
        *(required_column(name, pa.string()) for name in _PATHS),
    ]
)


@dataclass(frozen=True, slots=True)
class NeuronsIdentity:
    """The neurons that were ablated: the file they come from, and its content.

    Args:
        fingerprint: the model that the file names; None if it names none.
    """

    file: str
    sha256: str
    n_sites: Count
    n_neurons: Count
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class AblationRecord:
    """The complete `run.json` of a finished ablation.

    Args:
        evaluations: UE of sampling, before and after the ablation.
        tables: SHA-256 of each table, by file name.
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
    """A measure before the ablation and after it."""

    before: float
    after: float

    def text(self, digits: int) -> str:
        """Format both values: `0.02 → 0.40`."""
        return f"{self.before:.{digits}f} → {self.after:.{digits}f}"


@dataclass(frozen=True, slots=True)
class PromptEffect:
    """What an ablation did to one prompt.

    Args:
        distances: tile distance between the images before and after the ablation, by seed.
        diversity: median tile distance between two seeds.
        agreement: share of seeds in the largest group that shows the same image.
        response_norm: response norm of the first step, mean over seeds; None without guidance.
        before, after: files of the images by seed, relative to the directory of the ablation.
        panel: file of the panel, likewise relative.
    """

    prompt_id: str
    prompt: str
    distances: tuple[float, ...]
    diversity: BeforeAfter
    agreement: BeforeAfter
    response_norm: BeforeAfter | None
    before: tuple[str, ...]
    after: tuple[str, ...]
    panel: str

    @property
    def distance(self) -> float:
        """Median over seeds of the tile distance between before and after."""
        return median(self.distances)


def effect_of(rows: Sequence[TableRow]) -> PromptEffect:
    """Summarize the rows of `ablation.parquet` on one prompt, which are in the order of their seeds."""
    first = rows[0]
    norms = [(row["response_norm_before"], row["response_norm_after"]) for row in rows]
    is_measured = all(before is not None and after is not None for before, after in norms)
    return PromptEffect(
        prompt_id=first["prompt_id"],
        prompt=first["prompt"],
        distances=tuple(row["tile_distance"] for row in rows),
        diversity=BeforeAfter(first["seed_diversity_before"], first["seed_diversity_after"]),
        agreement=BeforeAfter(first["seed_agreement_before"], first["seed_agreement_after"]),
        response_norm=BeforeAfter(*map(fmean, zip(*norms, strict=True))) if is_measured else None,
        before=tuple(row["before_path"] for row in rows),
        after=tuple(row["after_path"] for row in rows),
        panel=first["panel_path"],
    )


def write_effects(directory: Path, rows: Sequence[TableRow], metadata: Mapping[str, str]) -> None:
    """Write `ablation.parquet`, one row per prompt and seed, atomically, with a hash of the rows in its footer."""
    table = pa.Table.from_pylist(list(rows), schema=ABLATION_SCHEMA)
    write_table(directory / ABLATION_FILE, table, ABLATION_SCHEMA, {**metadata, _ROWS_SHA256: _hash_rows(table)})


def _hash_rows(table: pa.Table) -> str:
    return hashlib.sha256(json.dumps(table.select(ABLATION_SCHEMA.names).to_pylist()).encode()).hexdigest()


def finished_rows(directory: Path, metadata: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the prompts whose images all exist, by prompt_id.

    A table that is missing, damaged or was not written with this `metadata` holds no finished prompt, so all of its
    prompts are sampled again; damage is logged.

    Raises:
        RunFileError: the table has another schema version or other columns.
        RunIncompleteError: a path leads out of the directory.
    """
    path = directory / ABLATION_FILE
    if not path.exists():
        return {}
    try:
        table = read_table(path, ABLATION_SCHEMA)
        if (table.schema.metadata or {}).get(f"flashbulb.{_ROWS_SHA256}".encode()) != _hash_rows(table).encode():
            raise RunIncompleteError(f"{path} is not what was written")
    except RunIncompleteError as error:
        logger.warning("%s; its prompts are sampled again", error)
        return {}
    footer = table.schema.metadata
    if any(footer.get(f"flashbulb.{key}".encode()) != value.encode() for key, value in metadata.items()):
        return {}
    rows_by_prompt: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows_by_prompt.setdefault(row["prompt_id"], []).append(row)
    return {
        prompt_id: rows
        for prompt_id, rows in rows_by_prompt.items()
        if all(path_in_run(directory, ABLATION_FILE, row[column]).is_file() for row in rows for column in _PATHS)
    }
