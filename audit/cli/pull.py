"""`flashbulb pull` tells which of the given images can be brought out of a model, without their captions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.replay import load_replay
from flashbulb.audit.cli.shell.options import Force, Json, chosen_settings, in_panel, options_of, takes
from flashbulb.audit.cli.shell.output import lines_to_stderr, print_json, run_document
from flashbulb.audit.settings import PullSettings, SettingsError, default_run_name, given_model
from flashbulb.reports.tables.files import RunIncompleteError


@app.command()
@takes(options_of(PullSettings))
def pull(
    context: typer.Context,
    *,
    replay: Annotated[
        Path | None,
        in_panel("Inputs", "Take all settings from this finished pull; options on the command line override them."),
    ] = None,
    force: Force = False,
    gate: Annotated[bool, in_panel("Output", "Exit with 1 if an image is out.")] = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Tell which of these images a model gives back, without knowing their captions.

    Ranks all images by how much better the model denoises them than variants of them, at 8 evaluations an image. Pulls
    at the best ranked with a few gradient steps, and samples what they found with new seeds. Run the same command
    again to resume an interrupted pull.

    Reads a pipeline, images and, if given, controls. Writes to --out: run.json, pull.md, pull.parquet, evidence.png
    and images/.

    Example: flashbulb pull ./my-pipeline images/ --controls never-trained/ --out runs/pulled
    Example: flashbulb pull ./my-pipeline images/ --controls never-trained/ --budget 100000 --gate
    Example: flashbulb pull ./next-checkpoint --replay runs/pulled --out runs/pulled-next

    Exit codes: 0 the pull ended, whatever came out; with --gate, 1 an image is out; 2 error in options, settings or
    files; 3 the result cannot be trusted; 4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        replayed = None if replay is None else load_replay(context, replay, PullSettings)
        settings = _build_settings(options) if replayed is None else replayed.settings
        from flashbulb.audit.stages.pull import run_pull

        with lines_to_stderr(as_json):
            record = run_pull(settings, force=force, replayed=replayed)
        if as_json:
            print_json(run_document(settings.out))
        if gate and record.n_out:
            raise typer.Exit(1)
        if gate and record.n_tried == 0 and record.n_unpaid:
            raise RunIncompleteError(
                f"no image was pulled at within --budget {settings.budget}, so that none is out shows nothing; give "
                "more, or leave --budget out"
            )


def _build_settings(options: Mapping[str, Any]) -> PullSettings:
    """Build settings from options, which have the names of the fields. Missing options keep the defaults.

    Raises:
        SettingsError: no model or no images are given.
    """
    model = given_model(options["model"], "pull")
    if options["source"] is None:
        raise SettingsError("SOURCE is missing; give the images to pull at: flashbulb pull MODEL SOURCE")
    defaults = {"out": Path("runs") / f"{default_run_name(model)}-pull"}
    return PullSettings.model_validate({**defaults, **chosen_settings(options, PullSettings)})
