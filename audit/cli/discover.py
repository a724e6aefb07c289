"""`flashbulb discover` searches without prompts; `flashbulb index` hashes training images to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.replay import load_replay
from flashbulb.audit.cli.shell.options import Force, Json, chosen_settings, in_panel, options_of, takes
from flashbulb.audit.cli.shell.output import lines_to_stderr, print_json, print_text, run_document
from flashbulb.audit.settings import (
    DiscoverSettings,
    SettingsError,
    TrainingImageSettings,
    default_run_name,
    given_model,
)
from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.views.passed_over import passed_over_line
from flashbulb.reports.views.text import visible_text


@app.command()
@takes(options_of(DiscoverSettings))
def discover(
    context: typer.Context,
    *,
    replay: Annotated[
        Path | None,
        in_panel(
            "Inputs", "Take all settings from this finished discovery; options on the command line override them."
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Search a model for memorized images without any prompts.

    Prints each finding once it is verified. The search ends when its budget is spent, or after several rounds in a row
    without a new image (see --patience). Run the same command again to resume an interrupted search.

    Reads a pipeline and, if given, training images. Writes to --out: run.json, summary.md, recoveries.parquet and
    images/.

    Example: flashbulb discover ./my-pipeline --budget 80000 --out runs/found
    Example: flashbulb discover --replay runs/found --seed 1 --out runs/found-again

    Exit codes: 0 the search ended, whatever it found; 2 error in options, settings or files; 3 the result cannot be
    trusted; 4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        replayed = None if replay is None else load_replay(context, replay, DiscoverSettings)
        settings = _build_settings(options) if replayed is None else replayed.settings
        from flashbulb.audit.stages.discover import run_discovery

        with lines_to_stderr(as_json):
            run_discovery(settings, force=force, replayed=replayed)
        if as_json:
            print_json(run_document(settings.out))


def _build_settings(options: Mapping[str, Any]) -> DiscoverSettings:
    """Build settings from options, which have the names of the fields. Missing options keep the defaults.

    Raises:
        SettingsError: no model is given.
    """
    model = given_model(options["model"], "discover")
    defaults = {"train_images": None, "out": Path("runs") / f"{default_run_name(model)}-discovery"}
    return DiscoverSettings.model_validate({**defaults, **chosen_settings(options, DiscoverSettings)})


@app.command()
@takes(options_of(TrainingImageSettings, "descriptor", "descriptor_weights", "descriptor_sha256"))
def index(
    source: Annotated[Path, typer.Argument(help="A folder, .tar, .zip or .parquet, or a folder of these.")],
    out: Annotated[Path, typer.Argument(help="Folder to write the index to.")],
    aspect: Annotated[
        float, typer.Option(help="Width divided by height of the images that the audited model generates.")
    ] = 1,
    *,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Hash training images once, for audits that compare with millions of them.

    Reads the images in SOURCE. Writes the index to OUT, which `--train-images` accepts.

    Example: flashbulb index shards/ indexes/mine
    Then: flashbulb audit --model ./my-pipeline --prompts captions.csv --train-images indexes/mine
    """
    with errors_as_lines():
        if not 0 < aspect < inf:
            raise SettingsError(f"--aspect: width divided by height is a finite number above 0, got {aspect:g}")
        kind, weights, sha256 = (options[f"descriptor{part}"] for part in ("", "_weights", "_sha256"))
        if (kind is None) != (weights is None):
            raise SettingsError("--descriptor and --descriptor-weights belong together; give both or neither")
        from flashbulb.audit.training_images.descriptors import load_descriptor
        from flashbulb.audit.training_images.storage import build_index

        learned = None if kind is None else load_descriptor(weights, kind, sha256)
        indexed = build_index(source, out, aspect=aspect, descriptor=learned)
        if as_json:
            rows = [asdict(row) for row in indexed.passed_over]
            print_json({"index": str(out), "n_pictures": indexed.n_images, "passed_over": rows})
        else:
            beside = f"; not compared: {passed_over_line(indexed.passed_over)}" if indexed.passed_over else ""
            print_text(f"{count_text(indexed.n_images, 'image')} indexed in {visible_text(str(out), 1000)}{beside}")
