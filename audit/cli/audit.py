"""`flashbulb audit` and `flashbulb calibrate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.replay import TWO_REFERENCES, load_replay
from flashbulb.audit.cli.shell.layers import lower_layer_of
from flashbulb.audit.cli.shell.options import (
    Force,
    ForceFolder,
    Gate,
    Json,
    chosen_settings,
    help_of,
    in_panel,
    options_of,
    takes,
)
from flashbulb.audit.cli.shell.output import (
    exit_with_summary,
    lines_to_stderr,
    print_json,
    print_text,
    read_json,
    run_document,
)
from flashbulb.audit.settings import (
    ADDED,
    ActivationSettings,
    AuditSettings,
    InputSettings,
    SettingsError,
    TrainingImageSettings,
    demo_inputs,
    resolve_inputs,
)
from flashbulb.audit.stages.kept.replay import Replay
from flashbulb.reports.tables.files import SUMMARY_FILE
from flashbulb.reports.tables.verdict import Verdict

ReplayOf = Annotated[
    Path | None,
    in_panel(
        "Inputs", "Take all settings from this finished audit; options on the command line override them.", "--replay"
    ),
]

_GIVEN = {*InputSettings.model_fields, *TrainingImageSettings.model_fields} - {"out"}
_DEMO = tuple(name for name in AuditSettings.options() if name not in _GIVEN)
"""Options of the demo: all but those that choose a model, prompts and training images."""


@app.command()
@takes(options_of(AuditSettings))
def audit(
    context: typer.Context,
    *,
    replay: ReplayOf = None,
    force: Force = False,
    gate: Gate = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Audit a model on a list of prompts and write a run directory.

    Run the same command again to resume an interrupted audit.

    Reads a pipeline, prompts and, if given, reference prompts and training images. Writes to --out: run.json,
    summary.md, report.html, findings.jsonl, junit.xml, results.sarif, scores.parquet and other tables, activations/
    and images/. `reports/README.md` describes every file.

    Example: flashbulb audit --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine
    Example: flashbulb audit --model ./my-pipeline --prompts captions.csv --train-images images/ --gate
    Example: flashbulb audit --replay runs/mine --model ./next-checkpoint --out runs/next

    Exit codes: 0 the audit completed, whatever it found; with --gate, 0 pass or inconclusive and 1 the model leaks; 2
    error in options, settings or files; 3 the audit cannot be trusted, or with --gate and --strict is inconclusive; 4
    internal error; 130 interrupted.
    """
    with errors_as_lines():
        request = read_request(context, replay, options)
        from flashbulb.audit.stages.audit import run_audit

        with lines_to_stderr(as_json):
            verdict = run_audit(request.settings, force=force, replayed=request.replayed)
        answer(verdict, request.settings.out, gate=gate, as_json=as_json)


def answer(verdict: Verdict, run: Path, *, gate: bool, as_json: bool) -> None:
    """End a command that finished an audit: print run.json if asked for, and exit with the verdict if that is."""
    if as_json:
        print_json(run_document(run))
    if gate:
        exit_with_summary(verdict.exit_code, run / SUMMARY_FILE)


@app.command()
@takes(options_of(AuditSettings, *_DEMO))
def demo(*, force: Force = False, gate: Gate = False, as_json: Json = False, **options: Any) -> None:
    """Audit the embedded model, which was trained to memorize images.

    Takes minutes on two CPU cores, and shows what an audit of your own model will look like. Uses every core, by
    --workers auto, unless told otherwise.

    Reads nothing. Writes to --out what `flashbulb audit` writes.

    Example: flashbulb demo
    Then: flashbulb gate runs/embedded

    Exit codes: 0 the audit completed; with --gate, 1, since the model leaks; 2 error in options, settings or files;
    3 the audit cannot be trusted; 4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        settings = AuditSettings.model_validate({**demo_inputs(), **chosen_settings(options, AuditSettings)})
        from flashbulb.audit.stages.audit import run_audit

        with lines_to_stderr(as_json):
            verdict = run_audit(settings, force=force)
        answer(verdict, settings.out, gate=gate, as_json=as_json)


class AuditRequest(NamedTuple):
    """The settings of an audit, and the finished audit that --replay took them from, if any."""

    settings: AuditSettings
    replayed: Replay[AuditSettings] | None


def read_request(context: typer.Context, replay: Path | None, options: Mapping[str, Any]) -> AuditRequest:
    """Turn the options of `audit` into settings, read from a finished run if --replay is given."""
    if replay is None:
        return AuditRequest(build_audit_settings(_drop_lower_reference(context, options)), None)
    replayed = load_replay(context, replay, AuditSettings)
    return AuditRequest(replayed.settings, replayed)


def _drop_lower_reference(context: typer.Context, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Drop --reference or --calibration, whichever comes from the lower layer. Keep both if their layer is the same."""
    if options["reference"] is None or options["calibration"] is None:
        return options
    lower = lower_layer_of(context, "reference", "calibration")
    return options if lower is None else {**options, lower: None}


def build_audit_settings(options: Mapping[str, Any]) -> AuditSettings:
    """Build settings from options, which have the names of the fields. Missing options keep the defaults.

    Raises:
        SettingsError: the options lack an input or contradict each other.
    """
    paths = resolve_inputs(*(options.get(name) for name in ("model", "prompts", "reference", "train_images", "out")))
    chosen = chosen_settings(options, AuditSettings)
    if "calibration" in chosen:
        if options["reference"] is not None:
            raise SettingsError(TWO_REFERENCES)
        paths["reference"] = None
    return AuditSettings.model_validate({**chosen, **paths})


@app.command()
@takes(options_of(InputSettings, "model", *ADDED), options_of(ActivationSettings))
def calibrate(
    *,
    reference: Annotated[
        str,
        in_panel(
            "Inputs", "Prompts you know are not in the training set; same file formats as `flashbulb audit --prompts`."
        ),
    ],
    out: Annotated[Path, in_panel("Output", "Folder to write the calibration to.")],
    reference_column: Annotated[str | None, in_panel("Inputs", help_of(InputSettings, "text_column"))] = None,
    force: ForceFolder = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Record reference prompts once, for many audits of the same model with the same settings.

    Reads a pipeline and prompts. Writes to --out: calibration.json, prompts.parquet, activations/reference/ and
    run.json.

    Example: flashbulb calibrate --model ./my-pipeline --reference clean.txt --out calibrations/mine
    Then: flashbulb audit --model ./my-pipeline --prompts captions.csv --calibration calibrations/mine

    Exit codes: 0 recorded; 2 error in options, settings or files; 3 the recording cannot be trusted; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        inputs = {"prompts": reference, "text_column": reference_column, "out": out}
        settings = build_audit_settings({**options, **inputs})
        from flashbulb.audit.stages.calibrate import run_calibration
        from flashbulb.audit.stages.kept.calibration import CALIBRATION_FILE

        with lines_to_stderr(as_json):
            folder = run_calibration(settings, force=force)
        if as_json:
            print_json({"calibration": str(folder), **read_json(folder / CALIBRATION_FILE)})
        else:
            print_text(f"calibration in {folder}")
