"""`engram audit` and `engram calibrate`: options to settings, and on to the stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.layers import weaker_of
from audit.cli.option_groups import (
    CandidateOptions,
    DetectionOptions,
    InputOptions,
    RecordingOptions,
    RecoveryOptions,
    VerdictOptions,
    takes,
)
from audit.cli.options import MODEL_HELP, Force, Gate, Json, TextColumn, chosen_settings
from audit.cli.replaying import TWO_REFERENCES, replay_of
from audit.cli.saying import lines_aside, run_document, say_json, say_text, stated_in
from audit.config import AuditSettings, SettingsError, with_defaults
from audit.replay import Replay
from reports.decide import Verdict


@app.command()
@takes(InputOptions, RecordingOptions, CandidateOptions, DetectionOptions, RecoveryOptions, VerdictOptions)
def audit(
    context: typer.Context, *, force: Force = False, gate: Gate = False, as_json: Json = False, **given: Any
) -> None:
    """Audit a model on a list of captions and write a run directory.

    Without options it audits the embedded model, which memorized pictures on purpose. The same command goes on where
    it was interrupted.

    Reads a pipeline, captions and, if given, a reference and training pictures. Writes --out: run.json, summary.md,
    report.html, findings.jsonl, junit.xml, results.sarif, scores.parquet and other tables, activations/, images/
    (`reports/README.md` describes every file).

    Example: engram audit
    Example: engram audit --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine
    Example: engram audit --model ./my-pipeline --prompts captions.csv --train-images pictures/ --gate
    Example: engram audit --replay runs/mine --model ./next-checkpoint --out runs/next

    Exit codes: 0 the audit completed, whatever it found; with --gate 0 pass and 1 the model leaks; 2 a mistake in
    options, settings or files; 3 not to be trusted; 4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        asked = asked_of(context, given)
        from audit.stages import run_audit

        with lines_aside(as_json):
            verdict = run_audit(asked.settings, force=force, replayed=asked.replayed)
        if as_json:
            say_json(run_document(asked.settings.out))
        leave(verdict, asked.settings.out, gate)


def leave(verdict: Verdict, run: Path, gate: bool) -> None:
    """End a command that finished an audit: with the verdict as exit code, and in a CI step's summary, under `gate`."""
    if not gate:
        return
    from reports.files import SUMMARY_FILE
    from reports.gate_outputs import writing
    from reports.step_summary import append_step_summary

    with writing("the step summary"):
        append_step_summary((run / SUMMARY_FILE).read_text(encoding="utf-8"))
    raise typer.Exit(verdict.exit_code)


class Asked(NamedTuple):
    """The settings of an audit, and the finished one that they were taken from, if any."""

    settings: AuditSettings
    replayed: Replay[AuditSettings] | None


def asked_of(context: typer.Context, given: Mapping[str, Any]) -> Asked:
    """What a command with the options of `audit` was asked to do."""
    if given["replay"] is None:
        return Asked(audit_settings(_without_weaker_reference(context, given)), None)
    replayed = replay_of(context, given["replay"], AuditSettings)
    return Asked(replayed.settings, replayed)


def _without_weaker_reference(context: typer.Context, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options given; of a reference and a calibration from different layers the higher one's alone."""
    is_double = given["reference"] is not None and given["calibration"] is not None
    weaker = weaker_of(context, "reference", "calibration") if is_double else None
    return given if weaker is None else {**given, weaker: None}


def audit_settings(given: Mapping[str, Any]) -> AuditSettings:
    """Settings from the options of `audit`, which are named like them; what was not given keeps its default."""
    paths = with_defaults(*(given.get(name) for name in ("model", "prompts", "reference", "train_images", "out")))
    chosen = chosen_settings(given, AuditSettings)
    if "calibration" in chosen:
        if given["reference"] is not None:
            raise SettingsError(TWO_REFERENCES)
        paths["reference"] = None
    return AuditSettings.model_validate({**chosen, **paths})


@app.command()
@takes(RecordingOptions)
def calibrate(
    reference: Annotated[str, typer.Option(help="Captions that are surely not memorized: a file as for `audit`.")],
    out: Annotated[Path, typer.Option(help="Folder of the calibration.")],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    reference_column: TextColumn = None,
    *,
    force: Annotated[bool, typer.Option(help="Delete what the folder holds and start over.")] = False,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Record reference captions once, for many audits of the same model with the same settings.

    Reads a pipeline and captions. Writes --out: calibration.json, prompts.parquet, activations/reference/ and run.json.

    Example: engram calibrate --model ./my-pipeline --reference clean.txt --out calibrations/mine
    Then: engram audit --model ./my-pipeline --prompts captions.csv --calibration calibrations/mine

    Exit codes: 0 recorded; 2 a mistake in options, settings or files; 3 not to be trusted; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        inputs = {"model": model, "prompts": reference, "text_column": reference_column, "out": out}
        settings = audit_settings({**given, **inputs})
        from audit.saved_calibration import CALIBRATION_FILE
        from audit.stages import run_calibration

        with lines_aside(as_json):
            folder = run_calibration(settings, force=force)
        if as_json:
            say_json({"calibration": str(folder), **stated_in(folder / CALIBRATION_FILE)})
        else:
            say_text(f"calibration in {folder}")
