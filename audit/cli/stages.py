"""`flashbulb record`, `detect` and `recover` run the stages of an audit one at a time; `validate` checks its inputs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.audit import ReplayOf, answer, read_request
from flashbulb.audit.cli.shell.options import Force, Gate, Json, chosen_settings, in_panel, options_of, takes
from flashbulb.audit.cli.shell.output import lines_to_stderr, print_json, print_lines, print_text, run_document
from flashbulb.audit.settings import (
    ActivationSettings,
    AuditSettings,
    DetectionSettings,
    RecordingSettings,
    RecoverySettings,
    VerdictSettings,
)
from flashbulb.reports.views.text import visible_text

if TYPE_CHECKING:
    from flashbulb.audit.run.directory import RunDirectory


@app.command()
@takes(options_of(RecordingSettings))
def record(
    context: typer.Context,
    *,
    shard: Annotated[
        str | None,
        in_panel(
            "Machine",
            "Record only every n-th shard, from the i-th on (i/n, as 2/4), into OUT.shards, for `flashbulb merge`; "
            "or ranks: i and n come from torchrun or srun, and the first process merges.",
        ),
    ] = None,
    replay: ReplayOf = None,
    force: Force = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Record a model's neurons on a list of prompts: the first stage of an audit.

    `flashbulb detect` and `flashbulb recover` are the next stages; `flashbulb audit` runs all three. Run the same
    command again to resume an interrupted recording.

    Reads a pipeline, prompts and, if given, reference prompts. Writes to --out: activations/ and run.json.

    Example: flashbulb record --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine
    Example: flashbulb record --model ./my-pipeline --prompts captions.csv --out runs/mine --shard 2/4
    Then: flashbulb detect runs/mine

    Exit codes: 0 recorded; 2 error in options, settings or files; 3 the recording cannot be trusted; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        request = read_request(context, replay, options)
        from flashbulb.audit.stages.audit import run_record
        from flashbulb.audit.stages.shards import run_record_shard

        with lines_to_stderr(as_json):
            if shard is None:
                run = run_record(request.settings, force=force, replayed=request.replayed)
            else:
                run = run_record_shard(request.settings, shard, force=force, replayed=request.replayed)
        _print_recorded(run, as_json)


@app.command()
def merge(
    run: Annotated[Path, typer.Argument(help="Run directory to write: --out of `flashbulb record --shard`.")],
    *,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Put the shards that `flashbulb record --shard` recorded together into one run directory.

    Refuses shards of different models, prompts or settings, and a recording of which a shard is missing.

    Reads RUN.shards, and leaves it as it is. Writes to RUN: activations/ and run.json, as `flashbulb record` does.

    Example: flashbulb merge runs/mine
    Then: flashbulb detect runs/mine

    Exit codes: 0 recorded; 2 shards are missing or do not belong together; 4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        from flashbulb.audit.stages.shards import run_merge

        with lines_to_stderr(as_json):
            merged = run_merge(run, force=force)
        _print_recorded(merged, as_json)


@app.command()
@takes(options_of(DetectionSettings))
def detect(
    run: Annotated[Path, typer.Argument(help="Run directory written by `flashbulb record`.")],
    *,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Score the recorded prompts and flag the suspicious ones: the second stage of an audit.

    Needs no model. Options that are not given keep the run's values. With another --fpr, nothing is recorded again,
    but `flashbulb recover` has to run again; it keeps its finished attempts.

    Reads RUN, as written by `flashbulb record`. Writes scores.parquet, spikes.parquet, the calibration and run.json.

    Example: flashbulb detect runs/mine --fpr 0.001
    Then: flashbulb recover runs/mine

    Exit codes: 0 detected; 2 error in options, settings or files, or nothing is recorded; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        changes = chosen_settings(options, AuditSettings)
        from flashbulb.audit.stages.audit import run_detect

        with lines_to_stderr(as_json):
            detected = run_detect(run, changes)
        if as_json:
            print_json(run_document(run))
        else:
            counts, fpr = detected.record["counts"], detected.record["calibration"]["fpr"]
            expected = f"{fpr * counts['n_scored']:.1f} expected by chance"
            flagged = f"{counts['n_flagged']} of {counts['n_scored']} prompts flagged ({expected}), see {run}"
            _print_done(flagged, detected.record["status"], run)


@app.command()
@takes(
    options_of(RecoverySettings),
    options_of(VerdictSettings),
    options_of(
        ActivationSettings, "batch_size", "executor", "workers", "worker_timeout", "ray_address", "allow_pickle"
    ),
)
def recover(
    run: Annotated[Path, typer.Argument(help="Run directory written by `flashbulb detect`.")],
    *,
    gate: Gate = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Try to recover images from flagged prompts and controls: the last stage of an audit.

    Options that are not given keep the run's values, and attempts already made with the same settings are kept. Weights
    that can run code are the exception: repeat `--allow-pickle` and `--descriptor-weights`.

    Reads RUN, as written by `flashbulb detect`, the pipeline and, if given, training images. Writes what a finished
    audit still lacks: recoveries.parquet, images/, summary.md and more.

    Example: flashbulb recover runs/mine --train-images images/ --ascend-restarts 6
    Then: flashbulb gate runs/mine

    Exit codes: 0 the audit completed, whatever it found; with --gate, 0 pass and 1 the model leaks; 2 error in
    options, settings or files, or nothing is detected; 3 the audit cannot be trusted; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        changes = chosen_settings(options, AuditSettings)
        from flashbulb.audit.stages.audit import run_recover

        with lines_to_stderr(as_json):
            verdict = run_recover(run, changes)
        answer(verdict, run, gate=gate, as_json=as_json)


@app.command()
@takes(options_of(AuditSettings))
def validate(
    context: typer.Context, *, replay: ReplayOf = None, force: Force = False, as_json: Json = False, **options: Any
) -> None:
    """Check all inputs of an audit and print what it would run, without writing anything.

    Takes the options of `flashbulb audit`. Reports every error in the inputs that the audit would report, including
    those that it would meet only after hours. Estimates the time from one call of the denoiser on the chosen device.

    Reads a pipeline, prompts, reference prompts and training images. Writes nothing.

    Example: flashbulb validate --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine

    Exit codes: 0 the audit can start; 2 error in options, settings or files; 3 the audit could not be trusted;
    4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        request = read_request(context, replay, options)
        from flashbulb.audit.stages.audit import open_session
        from flashbulb.audit.stages.validate import plan_audit
        from flashbulb.reports.views.audit_plan import plan_lines

        plan = plan_audit(open_session(request.settings, request.replayed), force=force)
        if as_json:
            print_json(asdict(plan))
        else:
            print_lines(plan_lines(plan))


def _print_recorded(run: RunDirectory, as_json: bool) -> None:
    from flashbulb.reports.tables.run_record import SHARD

    status = run.record["status"]
    if as_json:
        print_json(run_document(run.path))
    elif status == SHARD:
        _print_done(f"shard recorded in {run.path}; when all are: flashbulb merge, with --out as RUN", status, run.path)
    else:
        _print_done(f"{run.record['counts']['n_prompts']} prompts recorded in {run.path}", status, run.path)


def _print_done(done: str, status: str, run: Path) -> None:
    from flashbulb.reports.tables.run_record import NEXT_COMMANDS

    print_text(visible_text(done, 1000))
    if status in NEXT_COMMANDS:
        print_text(visible_text(f"Next: flashbulb {NEXT_COMMANDS[status]} {run}", 1000))
