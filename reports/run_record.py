"""`run.json`: what an audit was given, what it counted and what it decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue, TypeAdapter

from reports.decide import Results, Verdict
from reports.files import RUN_FILE, RunIncompleteError
from reports.rates import Rate
from reports.record_files import read_as, read_content, write_record

Count = Annotated[int, Field(ge=0)]

RECORDED, DETECTED, COMPLETE = "recorded", "detected", "complete"
"""Statuses of an audit by the last stage that is done."""
NEXT_COMMANDS = {RECORDED: "detect", DETECTED: "recover"}

DISCOVERY, DISCOVERY_RUNNING = "discovery", "discovering"
DISCOVERY_STATUSES = (DISCOVERY, DISCOVERY_RUNNING)
"""Statuses that a search without prompts writes into its run.json: finished, and not yet."""


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
    from reference prompts, or without any from unflagged ones, `style_shift` how well they tell candidates from
    reference prompts; None if not measured.
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

    `n_left_out` of the scored prompts were scored by tier 0 alone and left out of all others. `n_recovered` prompts,
    not controls, gave a picture by some strategy; `recovered_by` counts them, and findings that have no prompt, by the
    strategy that gave the first one, with an entry for every strategy tried. `n_false_recoveries` of the controls gave
    a picture as well.
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
    n_recovered: Count
    n_controls: Count
    n_false_recoveries: Count
    recovered_by: Mapping[str, Count]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The whole of `run.json`.

    `false_recovery` is the share of controls that gave a picture, with its 95 % interval. `warnings` are for the
    reader, `problems` are reasons to distrust the run. `evaluations` are UNet evaluations and `timings` seconds, each
    by stage; `tables` are the SHA-256 of the tables' files, by file name. `policy` holds the limits that `verdict` was
    judged by, `notes` what waivers did to it. `finished` is when the audit was judged, in UTC (ISO 8601).
    """

    schema_version: int
    status: str
    model: ModelIdentity
    settings: Mapping[str, JsonValue]
    inputs: Mapping[str, JsonValue]
    calibration: Calibration
    counts: Counts
    false_recovery: Rate
    evaluations: Mapping[str, Count]
    timings: Mapping[str, float]
    versions: Mapping[str, str]
    tables: Mapping[str, str]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    verdict: Verdict | None
    policy: Mapping[str, JsonValue] | None = None
    notes: tuple[str, ...] = ()
    finished: str | None = None

    @property
    def compared_with(self) -> str:
        """Whose words the flagged prompts' are held against: those of the reference or, without one, the unflagged."""
        return "unflagged" if self.inputs.get("reference") is None else "reference"


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
        n_recovered=counts.n_recovered,
        n_controls=counts.n_controls,
        n_false_recoveries=counts.n_false_recoveries,
        fpr=run.calibration.fpr,
        problems=run.problems,
    )


def write_run(directory: Path, run: RunRecord) -> None:
    """Write `run.json`, whole or not at all; numbers that are not finite are refused."""
    write_record(directory, run)


def load_run(directory: Path) -> RunRecord:
    """Read the record of a finished audit, or say in one line why there is none to read."""
    path = directory / RUN_FILE
    content = read_content(directory, "audit")
    status = content.get("status")
    if status in DISCOVERY_STATUSES:
        raise RunIncompleteError(
            f"{path} is of a discovery, not of an audit, and has no verdict; give the OUT of `engram audit`"
        )
    if isinstance(status, str) and status in NEXT_COMMANDS:
        raise RunIncompleteError(
            f"{path}: the audit is {status} and not complete; go on with `engram {NEXT_COMMANDS[status]} {directory}`"
        )
    if status != COMPLETE:
        raise RunIncompleteError(f"{path}: the audit is not complete (status {status!r}); run it again to finish it")
    return read_as(_ADAPTER, path, content, "audit")
