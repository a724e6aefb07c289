"""The results of a pull: `pull.parquet`, and its record in `run.json`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import JsonValue, TypeAdapter

from flashbulb.reports.bounds.rates import Rate
from flashbulb.reports.tables.files import RUN_FILE
from flashbulb.reports.tables.record_files import Count, read_finished, validate_record
from flashbulb.reports.tables.run_record import PULL, PULL_RUNNING, ModelIdentity
from flashbulb.reports.tables.schema import required_column

PULL_FILE = "pull.parquet"
PULL_PAGE = "pull.md"

OUT, NOT_OUT, NOT_TRIED = "out", "not_out", "not_tried"

PULL_SCHEMA = pa.schema(
    [
        required_column("image_id", pa.string()),
        required_column("path", pa.string()),
        required_column("is_control", pa.bool_()),
        required_column("rank", pa.int32()),
        required_column("familiarity", pa.float64()),
        required_column("verdict", pa.string()),
        required_column("evaluations", pa.int64()),
        pa.field("n_samples", pa.int32()),
        pa.field("n_copies", pa.int32()),
        pa.field("closeness", pa.float64()),
        pa.field("score", pa.float64()),
        pa.field("p_value", pa.float64()),
        pa.field("sample_path", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class PullRecord:
    """The complete `run.json` of a finished pull.

    Args:
        threshold: the score that an image must exceed to be out.
        is_shown: the controls suffice to show the share `max_false` of never-trained images that come out.
        n_images, n_tried, n_out: images given, pulled at, and out.
        n_unpaid: images that rank high enough to be pulled at, which the budget did not pay for.
        controls_out: controls above the threshold, of all controls; no independent estimate, as they set it.
        evaluations, timings: UE and seconds, by part: rank and pull.
        tables: SHA-256 of each table, by file name.
    """

    schema_version: int
    status: str
    model: ModelIdentity
    settings: Mapping[str, JsonValue]
    inputs: Mapping[str, JsonValue]
    threshold: float
    is_shown: bool
    n_images: Count
    n_tried: Count
    n_out: Count
    controls_out: Rate
    evaluations: Mapping[str, Count]
    timings: Mapping[str, float]
    versions: Mapping[str, str]
    tables: Mapping[str, str]
    warnings: tuple[str, ...]
    n_unpaid: Count = 0


_ADAPTER = TypeAdapter(PullRecord)


def load_pull(directory: Path) -> PullRecord:
    """Read the record of a finished pull.

    Raises:
        RunFileError: there is no pull, or it has another schema version.
        RunIncompleteError: it is unfinished or damaged.
    """
    content = read_finished(directory, "pull", "pull", PULL, PULL_RUNNING)
    return validate_record(_ADAPTER, directory / RUN_FILE, content, "pull")
