"""The record of an audit in `run.json`: its inputs, its counts and its verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from flashbulb.reports.bounds.power import Power
from flashbulb.reports.bounds.rates import Rate
from flashbulb.reports.tables.canaries import CanaryRecord
from flashbulb.reports.tables.files import RUN_FILE, RunIncompleteError
from flashbulb.reports.tables.frame import Frame
from flashbulb.reports.tables.propensity import Propensity
from flashbulb.reports.tables.record_files import Count, read_content, validate_record
from flashbulb.reports.tables.seal import Seal
from flashbulb.reports.tables.verdict import Results, Verdict

RECORDED, DETECTED, COMPLETE = "recorded", "detected", "complete"
"""Statuses of an audit, by the last stage that finished."""
NEXT_COMMANDS = {RECORDED: "detect", DETECTED: "recover"}

DISCOVERY, DISCOVERY_RUNNING = "discovery", "discovering"
ABLATION, ABLATION_RUNNING = "ablation", "ablating"
COMPARISON, COMPARISON_RUNNING = "comparison", "comparing"
SWEEP, SWEEP_RUNNING = "sweep", "sweeping"
PULL, PULL_RUNNING = "pull", "pulling"
CALIBRATION, SHARD = "calibration", "shard"
NO_AUDIT = {
    **dict.fromkeys((DISCOVERY, DISCOVERY_RUNNING), "a discovery"),
    **dict.fromkeys((ABLATION, ABLATION_RUNNING), "an ablation"),
    **dict.fromkeys((COMPARISON, COMPARISON_RUNNING), "a comparison"),
    **dict.fromkeys((SWEEP, SWEEP_RUNNING), "a sweep"),
    **dict.fromkeys((PULL, PULL_RUNNING), "a pull"),
    CALIBRATION: "a calibration",
    SHARD: "one shard of a recording, of which `flashbulb merge` makes a run",
}
"""What a directory of this status belongs to, of other commands: finished, and still running."""
FINISHED = frozenset({COMPLETE, DISCOVERY, ABLATION, COMPARISON, SWEEP, PULL, CALIBRATION})
"""Statuses of directories whose command has ended."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The model that was audited: `name` as the user gave it, `fingerprint` over its weights and configs."""

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StyleCalibration:
    """The calibration of one style of prompts, on reference prompts or on the candidates of that style.

    `threshold` is None where the calibrating prompts are too few to show so low a rate. `tail_shape` and `tail_error`
    are diagnostics of the fit beyond the resolution of ranks: the shape of the generalized Pareto tail, and its
    Kolmogorov-Smirnov distance, 0 to 1, from the scores it was fitted to.
    """

    on_reference: bool
    n_calibrating: Count
    n_candidates: Count
    threshold: float | None
    tail_shape: float
    tail_error: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the scores were calibrated on, and the threshold.

    Args:
        fpr: the stated false-positive rate.
        threshold: the spike score above which a prompt of any style is flagged; None where the calibrating prompts of
            some style are too few to show so low a rate.
        style_auc: AUC with which the text alone separates flagged prompts from reference prompts, or from unflagged
            prompts if there is no reference (a text-only null); None if not measured.
        style_shift: AUC with which the text alone separates candidate from reference prompts; None if not measured.
        max_style_shift: the limit on `style_shift`.
        pooled: candidates took part in the calibration, because there is no reference or `style_shift` is above its
            limit.
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
    """How many prompts went in, and what came out of them.

    Args:
        n_rows, n_prompts: rows of the prompt file, and distinct texts in them.
        n_left_out: of the scored prompts, those that tier 0 left out of the other tiers.
        n_recovered: distinct prompts, controls excluded, that gave an image by any strategy.
        n_false_recoveries: controls that gave an image by any strategy.
        recovered_by: for every strategy that was tried, the prompts, and findings without a prompt, whose first image
            it gave.
        n_known_by_base: prompts that the base model flags by its own score; None without a base.
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
    n_known_by_base: Count | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The complete `run.json` of a finished audit.

    Args:
        false_recovery: the share of controls that gave an image.
        evaluations, timings: denoiser evaluations and seconds, by stage.
        tables: SHA-256 of each table, by file name.
        warnings: what a reader has to know.
        problems: reasons to distrust the run.
        policy: the limits that the verdict was judged by.
        notes: what waivers did to the verdict.
        finished: when the audit was judged, in UTC (ISO 8601).
        base: the model that the audited one was fine-tuned from; scores then are differences. None if none was given.
        canaries: what planted canaries show; None without any.
        power: what the audit could have found; None until it is computed from this record and the tables.
        frame: how the prompts were chosen, and what a share among them speaks about.
        propensity: what ordinary prompts brought out; None if none were sampled.
        options: options of the command line that differ from their defaults, such as `--seeds`, by setting.
        seal: what the files of the run held when it was finished; None before it is.
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
    base: ModelIdentity | None = None
    canaries: CanaryRecord | None = None
    power: Power | None = None
    frame: Frame | None = None
    propensity: Propensity | None = None
    seal: Seal | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def compared_with(self) -> str:
        """The prompts whose text is compared with that of flagged prompts: "reference", or "unflagged" without one."""
        return "unflagged" if self.inputs.get("reference") is None else "reference"


@cache
def _adapter() -> TypeAdapter[RunRecord]:
    return TypeAdapter(RunRecord)  # takes a while, and commands that read no run start without it


def results_of(run: RunRecord) -> Results:
    """Collect the counts that `decide` judges."""
    counts, power = run.counts, run.power
    sensitivity = None if power is None else power.sensitivity
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
        sensitivity=None if sensitivity is None else sensitivity.at_least,
        sensitivity_gap=None if power is None else power.unknown_because,
        n_ordinary_copies=None if run.propensity is None else run.propensity.n_of_training_images,
    )


def load_run(directory: Path) -> RunRecord:
    """Read the record of a finished audit.

    Raises:
        RunFileError: there is no run.json, or it has another schema version.
        RunIncompleteError: the audit is unfinished or its record is damaged, or it belongs to another command.
    """
    path = directory / RUN_FILE
    content = read_content(directory, "audit")
    status = content.get("status")
    if isinstance(status, str) and status in NO_AUDIT:
        raise RunIncompleteError(
            f"{path} belongs to {NO_AUDIT[status]}, not to an audit, and has no verdict; "
            "give the --out directory of `flashbulb audit`"
        )
    if isinstance(status, str) and status in NEXT_COMMANDS:
        raise RunIncompleteError(
            f"{path}: the audit is {status}, not complete; "
            f"continue with `flashbulb {NEXT_COMMANDS[status]} {directory}`"
        )
    if status != COMPLETE:
        raise RunIncompleteError(f"{path}: the audit is not complete (status {status!r}); run it again to finish it")
    return validate_record(_adapter(), path, content, "audit")
