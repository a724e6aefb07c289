"""`run.json`: what an audit was given, what it counted and what it decided."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from reports.decide import Results, Verdict
from reports.files import RUN_FILE, SCHEMA_VERSION, RunFileError, RunIncompleteError, write_text

Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model was audited: `name` as the user gave it, `fingerprint` over its weights and configs."""

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StyleCalibration:
    """How one style of captions was calibrated: on reference prompts, or on the candidates of that style themselves.

    `threshold` is None where so low a rate cannot be shown. `tail_shape` and `tail_error` are diagnostics of the fit
    beyond the resolution of ranks: shape of the generalized Pareto tail, and its Kolmogorov-Smirnov distance, 0 to 1,
    to the scores it was fitted to.
    """

    on_reference: bool
    n_calibrating: Count
    n_candidates: Count
    threshold: float | None
    tail_shape: float
    tail_error: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the scores were calibrated on and where the threshold lies.

    `threshold` is the spike score above which a prompt is flagged whatever its style; None where some style's
    calibrating prompts are too few to show so low a rate. `style_auc` is how well the words alone tell flagged prompts
    from reference prompts, `style_shift` how well they tell candidates from reference prompts; None if not measured.
    `pooled`: candidates helped to calibrate, since there was no reference or `style_shift` is above its limit.
    """

    fpr: float
    threshold: float | None
    n_reference: Count
    reference_source: str
    style_auc: float | None
    style_shift: float | None
    max_style_shift: float
    pooled: bool
    styles: tuple[StyleCalibration, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """What came in and what came out; a row is a line of the prompt file, a prompt a distinct text.

    `n_left_out` of the scored prompts were scored by tier 0 alone and left out of all others.
    """

    n_rows: Count
    n_empty: Count
    n_truncated: Count
    n_prompts: Count
    n_scored: Count
    n_left_out: Count
    n_flagged: Count
    n_high: Count
    n_confirmed_pictures: Count
    n_controls: Count
    n_false_recoveries: Count


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The whole of `run.json`.

    `warnings` are for the reader, `problems` are reasons to distrust the run. `evaluations` are UNet evaluations and
    `timings` seconds, each by stage; `tables` are the SHA-256 of the tables' files, by file name.
    """

    schema_version: int
    status: str
    model: ModelIdentity
    settings: Mapping[str, JsonValue]
    inputs: Mapping[str, JsonValue]
    calibration: Calibration
    counts: Counts
    evaluations: Mapping[str, Count]
    timings: Mapping[str, float]
    versions: Mapping[str, str]
    tables: Mapping[str, str]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    verdict: Verdict | None


_ADAPTER = TypeAdapter(RunRecord)


def results_of(run: RunRecord) -> Results:
    """What `decide` looks at."""
    counts = run.counts
    return Results(
        status=run.status,
        n_prompts=counts.n_prompts,
        n_scored=counts.n_scored,
        n_flagged=counts.n_flagged,
        n_high=counts.n_high,
        n_confirmed_pictures=counts.n_confirmed_pictures,
        n_controls=counts.n_controls,
        n_false_recoveries=counts.n_false_recoveries,
        fpr=run.calibration.fpr,
        problems=run.problems,
    )


def write_run(directory: Path, run: RunRecord) -> None:
    """Write `run.json`, whole or not at all; numbers that are not finite are refused."""
    text = json.dumps(asdict(run), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(directory / RUN_FILE, text + "\n")


def load_run(directory: Path) -> RunRecord:
    """Read the record of a finished audit, or say in one line why there is none to read."""
    path = directory / RUN_FILE
    if not directory.is_dir():
        raise RunFileError(f"{directory} is not a directory; give the OUT of an audit")
    if not path.is_file():
        raise RunFileError(
            f"{directory} holds no {RUN_FILE}; it is not the OUT of an audit, or its audit never started"
        )
    content = _parse(path)
    _check(path, content)
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise RunIncompleteError(f"{path}: {where}: {first['msg'].lower()}; run the audit again") from error


def _parse(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # torn JSON or not UTF-8
        raise RunIncompleteError(f"{path} is not whole JSON ({error}); run the audit again") from error
    if not isinstance(content, dict):
        raise RunIncompleteError(f"{path} should hold an object, found {type(content).__name__}; run the audit again")
    return content


def _check(path: Path, content: Mapping[str, object]) -> None:
    version, status = content.get("schema_version"), content.get("status")
    if type(version) is not int:
        raise RunFileError(f"{path} has no schema_version; it was not written by engram")
    if version > SCHEMA_VERSION:
        raise RunFileError(
            f"{path} has schema version {version}, this engram reads up to {SCHEMA_VERSION}; install a newer engram"
        )
    if status != "complete":
        raise RunIncompleteError(f"{path}: the audit is not complete (status {status!r}); run it again to finish it")
