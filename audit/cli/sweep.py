"""`flashbulb sweep`: audit the checkpoints of one training, and name the first whose gate fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.options import Gate, Json, chosen_settings, help_of, in_panel, options_of, takes
from flashbulb.audit.cli.shell.output import exit_with_summary, lines_to_stderr, print_json, print_lines
from flashbulb.audit.settings import AuditSettings

_OWN = ("model", "denoiser", "lora", "prompts", "out", "baseline_model", "calibration")
"""Options of an audit that a sweep declares itself, or that belong to one model."""
_SHARED = [name for name in AuditSettings.options() if name not in _OWN]


@app.command()
@takes(options_of(AuditSettings, *_SHARED))
def sweep(
    checkpoints: Annotated[
        list[str],
        typer.Argument(help="Checkpoints: pipeline folders, single files, LoRA files, or folders with a LoRA."),
    ],
    *,
    prompts: Annotated[str, in_panel("Inputs", help_of(AuditSettings, "prompts"))],
    model: Annotated[str | None, in_panel("Inputs", "Pipeline that LoRA checkpoints belong to.")] = None,
    baseline_model: Annotated[
        str | None,
        in_panel("Inputs", "Model that the training started from; flags then say what the training added."),
    ] = None,
    out: Annotated[Path | None, in_panel("Output", "Directory of the sweep; by default runs/sweep.")] = None,
    force: Annotated[bool, in_panel("Output", "Delete the contents of the directory and start over.")] = False,
    gate: Gate = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Audit the checkpoints of a training with one plan, and name the first whose gate fails.

    Steps or epochs in the names order the checkpoints; without them the order given counts. Run the same command again
    to resume an interrupted sweep.

    Reads the checkpoints, prompts and, if given, reference prompts and training images. Writes to --out: sweep.html,
    sweep.md, sweep.png, sweep.parquet, sweep.json, and a run directory for each checkpoint.

    Example: flashbulb sweep out/checkpoint-* --model ./base --prompts captions.csv --reference clean.txt
    Example: flashbulb sweep epochs/*.safetensors --model ./base --baseline-model ./base --prompts captions.csv

    Exit codes: 0 every audit completed, whatever it found; with --gate, 0 all pass, 1 a checkpoint fails; 2 error in
    options, settings or files; 3 an audit cannot be trusted; 4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        given = {**options, "prompts": prompts, "baseline_model": baseline_model}
        shared = {"reference": None, "train_images": None, **chosen_settings(given, AuditSettings)}
        from flashbulb.audit.stages.sweep import run_sweep
        from flashbulb.reports.tables.sweep import SWEEP_SUMMARY, sweep_document
        from flashbulb.reports.views.sweep import sweep_lines

        directory = Path("runs/sweep") if out is None else out
        with lines_to_stderr(True):
            result = run_sweep(checkpoints, model, shared, directory, force=force)
        if as_json:
            print_json({"sweep": directory, **sweep_document(result)})
        else:
            print_lines(sweep_lines(result))
        if gate:
            exit_with_summary(result.exit_code, directory / SWEEP_SUMMARY)
