"""`engram record`, `detect` and `recover`: the stages of an audit, one at a time in one run directory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.auditing import asked_of, leave
from audit.cli.option_groups import (
    CandidateOptions,
    DetectionOptions,
    InputOptions,
    RecordingOptions,
    RecoveryOptions,
    VerdictOptions,
    takes,
)
from audit.cli.options import AllowPickle, BatchSize, Force, Gate, Json, chosen_settings
from audit.cli.saying import lines_aside, run_document, say_json, say_lines, say_text
from audit.config import AuditSettings
from reports.text import visible_text


@app.command()
@takes(InputOptions, RecordingOptions, CandidateOptions)
def record(context: typer.Context, *, force: Force = False, as_json: Json = False, **given: Any) -> None:
    """Record the neurons of a model on a list of captions: the first stage of an audit.

    `engram detect` and `engram recover` go on from the run directory; `engram audit` does all three. The same command
    goes on where it stopped.

    Reads a pipeline, captions and, if given, a reference. Writes --out: activations/ and run.json.

    Example: engram record --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine
    Then: engram detect runs/mine

    Exit codes: 0 recorded; 2 a mistake in options, settings or files; 3 not to be trusted; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        asked = asked_of(context, given)
        from audit.stages import run_record

        with lines_aside(as_json):
            run = run_record(asked.settings, force=force, replayed=asked.replayed)
        if as_json:
            say_json(run_document(run.path))
        else:
            _say(f"{run.record['counts']['n_prompts']} prompts recorded in {run.path}", run.record["status"], run.path)


@app.command()
@takes(DetectionOptions)
def detect(
    run: Annotated[Path, typer.Argument(help="Run directory that `engram record` wrote.")],
    *,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Score and flag what is recorded, without the model: the second stage of an audit.

    What is not given stays as the directory has it. With another rate nothing is recorded again, but recovery has to
    be done anew; rungs that are there are kept.

    Reads RUN, which `engram record` wrote. Writes scores.parquet, spikes.parquet, what they were calibrated on, and
    run.json.

    Example: engram detect runs/mine --fpr 0.001
    Then: engram recover runs/mine

    Exit codes: 0 detected; 2 a mistake in options, settings or files, or nothing is recorded; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        changes = chosen_settings(given, AuditSettings)
        from audit.stages import run_detect

        with lines_aside(as_json):
            detected = run_detect(run, changes)
        if as_json:
            say_json(run_document(run))
        else:
            counts, fpr = detected.record["counts"], detected.record["calibration"]["fpr"]
            expected = f"{fpr * counts['n_scored']:.1f} expected by chance"
            flagged = f"{counts['n_flagged']} of {counts['n_scored']} prompts flagged ({expected}), see {run}"
            _say(flagged, detected.record["status"], run)


@app.command()
@takes(RecoveryOptions, VerdictOptions)
def recover(
    run: Annotated[Path, typer.Argument(help="Run directory that `engram detect` wrote.")],
    *,
    batch_size: BatchSize = None,
    allow_pickle: AllowPickle = False,
    gate: Gate = False,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Take flagged prompts and controls up the ladder of recovery: the last stage of an audit.

    What is not given stays as the directory has it; rungs that are there and were made the same way are kept.
    Weights that can run code, of the model or of a descriptor, have to be allowed or given again.

    Reads RUN, which `engram detect` wrote, the pipeline and, if given, training pictures. Writes what is still missing
    of a finished audit: recoveries.parquet, images/, summary.md and more.

    Example: engram recover runs/mine --train-images pictures/ --ascend-restarts 6
    Then: engram gate runs/mine

    Exit codes: 0 the audit completed, whatever it found; with --gate 0 pass and 1 the model leaks; 2 a mistake in
    options, settings or files, or nothing is detected; 3 not to be trusted; 4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        more = {"batch_size": batch_size, "allow_pickle": allow_pickle}
        changes = chosen_settings({**given, **more}, AuditSettings)
        from audit.stages import run_recover

        with lines_aside(as_json):
            verdict = run_recover(run, changes)
        if as_json:
            say_json(run_document(run))
        leave(verdict, run, gate)


@app.command()
@takes(InputOptions, RecordingOptions, CandidateOptions, DetectionOptions, RecoveryOptions, VerdictOptions)
def validate(context: typer.Context, *, force: Force = False, as_json: Json = False, **given: Any) -> None:
    """Read everything that an audit would read, and say what it would do; nothing is written.

    Takes the options of `engram audit`. A mistake that the audit would meet, at once or after hours, is met here: one
    line and 2. Time is estimated from one call of the UNet on the chosen device.

    Reads a pipeline, captions, a reference and training pictures. Writes nothing.

    Example: engram validate --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine

    Exit codes: 0 the audit can begin; 2 a mistake in options, settings or files; 3 not to be trusted; 4 internal
    error; 130 interrupted.
    """
    with errors_as_lines():
        asked = asked_of(context, given)
        from audit.stages import open_session
        from audit.validating import plan_of
        from reports.audit_plan import plan_lines

        plan = plan_of(open_session(asked.settings, asked.replayed), force=force)
        if as_json:
            say_json(asdict(plan))
        else:
            say_lines(plan_lines(plan))


def _say(done: str, status: str, run: Path) -> None:
    from reports.run_record import NEXT_COMMANDS

    say_text(visible_text(done, 1000))
    if status in NEXT_COMMANDS:
        say_text(visible_text(f"Go on with: engram {NEXT_COMMANDS[status]} {run}", 1000))
