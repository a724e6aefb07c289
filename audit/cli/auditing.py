"""`engram audit` and `engram calibrate`: options to settings, and on to the stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.machine import lines_aside, print_json, run_document, stated_in
from audit.cli.options import (
    MODEL_HELP,
    CandidateOptions,
    DetectionOptions,
    Force,
    Gate,
    InputOptions,
    Json,
    RecordingOptions,
    RecoveryOptions,
    takes,
)
from audit.config import AuditSettings, SettingsError, with_defaults


@app.command()
@takes(InputOptions, RecordingOptions, CandidateOptions, DetectionOptions, RecoveryOptions)
def audit(*, force: Force = False, gate: Gate = False, as_json: Json = False, **given: Any) -> None:
    """Audit a model on a list of captions and write a run directory.

    Without options it audits the embedded model, which memorized pictures on purpose. It exits 0 when the audit
    completed, whatever it found; with --gate the verdict is the exit code.

    Example: engram audit --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine
    """
    with errors_as_lines():
        settings = audit_settings(given)
        from audit.stages import run_audit

        with lines_aside(as_json):
            verdict = run_audit(settings, force=force)
        if as_json:
            print_json(run_document(settings.out))
        raise typer.Exit(verdict.exit_code if gate else 0)


def audit_settings(given: Mapping[str, Any]) -> AuditSettings:
    """Settings from the options of `audit`, which are named like them; what was not given keeps its default."""
    paths = with_defaults(*(given.get(name) for name in ("model", "prompts", "reference", "train_images", "out")))
    chosen = chosen_settings(given)
    if "calibration" in chosen:
        if given["reference"] is not None:
            raise SettingsError("--reference and --calibration are two references; give one of them")
        paths["reference"] = None
    return AuditSettings.model_validate({**chosen, **paths})


def chosen_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given of an audit's settings; an option repeated with the same value counts once."""
    chosen = {name: given[name] for name in AuditSettings.model_fields if given.get(name) not in (None, (), [])}
    for name in ("sites", "detectors", "strategies"):
        if name in chosen:
            chosen[name] = tuple(dict.fromkeys(chosen[name]))
    return chosen


@app.command()
@takes(RecordingOptions)
def calibrate(
    reference: Annotated[str, typer.Option(help="Captions that are surely not memorized: a file as for `audit`.")],
    out: Annotated[Path, typer.Option(help="Folder of the calibration.")],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    reference_column: Annotated[str | None, typer.Option(help="Column of the captions.")] = None,
    *,
    force: Force = False,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Record reference captions once, for many audits of the same model with the same settings.

    Example: engram calibrate --model ./my-pipeline --reference clean.txt --out calibrations/mine
    Then: engram audit --model ./my-pipeline --prompts captions.csv --calibration calibrations/mine
    """
    with errors_as_lines():
        inputs = {"model": model, "prompts": reference, "text_column": reference_column, "out": out}
        settings = audit_settings({**given, **inputs})
        from audit.saved_calibration import CALIBRATION_FILE
        from audit.stages import run_calibration

        with lines_aside(as_json):
            folder = run_calibration(settings, force=force)
        if as_json:
            print_json({"calibration": str(folder), **stated_in(folder / CALIBRATION_FILE)})
        else:
            typer.echo(f"calibration in {folder}")
