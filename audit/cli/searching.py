"""`engram discover` and `engram index`: searches without captions, and training pictures to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.options import (
    MODEL_HELP,
    AllowPickle,
    Descriptor,
    DescriptorSha256,
    DescriptorWeights,
    Device,
    DtypeOption,
    Force,
    Json,
    Seed,
    TrainImages,
    chosen_settings,
)
from audit.cli.replaying import replay_of
from audit.cli.saying import lines_aside, run_document, say_json, say_text
from audit.config import DiscoverSettings, SettingsError, embedded_model, name_of
from audit.planted.paths import PICTURES


@app.command()
def discover(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None,
    budget: Annotated[
        int | None, typer.Option(help="UNet evaluations to spend at most; this, --minutes, or both.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes after which no new round begins.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default runs/<model>-discovery.")] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="Finished discovery whose settings are taken again; what is typed beside it wins."),
    ] = None,
    train_images: TrainImages = None,
    descriptor: Descriptor = None,
    descriptor_weights: DescriptorWeights = None,
    descriptor_sha256: DescriptorSha256 = None,
    n_starts: Annotated[int | None, typer.Option("--starts", help="Starts of a round.")] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps of each ascent.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--rate", help="Learning rate of the ascents.")] = None,
    radius: Annotated[
        float | None, typer.Option(help="How far an ascent may move a token, in units of its norm.")
    ] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many rounds without a new picture.")] = None,
    seed: Seed = None,
    batch_size: Annotated[int | None, typer.Option(help="Starts in one UNet call.")] = None,
    checkpointing: Annotated[
        bool, typer.Option(help="Take less memory and more time (gradient checkpointing).")
    ] = False,
    dtype: DtypeOption = None,
    device: Device = None,
    allow_pickle: AllowPickle = False,
    images: Annotated[
        bool, typer.Option(help="Keep pictures on disk; without them an interrupted search starts anew.")
    ] = True,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Search a model for memorized pictures without any caption.

    Findings are printed as they are verified; the same command goes on where it was interrupted. The search ends when
    its budget is spent or round after round brings nothing new.

    Reads a pipeline and, if given, training pictures. Writes --out: run.json, summary.md, recoveries.parquet, images/.

    Example: engram discover ./my-pipeline --budget 80000 --out runs/found
    Example: engram discover --replay runs/found --seed 1 --out runs/found-again

    Exit codes: 0 the search ended, whatever it found; 2 a mistake in options, settings or files; 3 not to be trusted;
    4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        replayed = None if replay is None else replay_of(context, replay, DiscoverSettings)
        settings = _discover_settings(context.params) if replayed is None else replayed.settings
        from audit.discovering import run_discovery

        with lines_aside(as_json):
            run_discovery(settings, force=force, replayed=replayed)
        if as_json:
            say_json(run_document(settings.out))


def _discover_settings(given: Mapping[str, Any]) -> DiscoverSettings:
    """Settings from the options of `discover`, which are named like them; what was not given keeps its default."""
    model = given["model"]
    defaults = {
        "model": embedded_model() if model is None else model,
        "train_images": PICTURES if model is None else None,
        "out": Path("runs") / f"{name_of(model)}-discovery",
    }
    return DiscoverSettings.model_validate({**defaults, **chosen_settings(given, DiscoverSettings)})


@app.command()
def index(
    source: Annotated[Path, typer.Argument(help="A folder, an imagefolder, a .tar or a folder of .tar shards.")],
    out: Annotated[Path, typer.Argument(help="Folder of the index.")],
    aspect: Annotated[float, typer.Option(help="Width over height of the pictures that the audited model makes.")] = 1,
    descriptor: Descriptor = None,
    descriptor_weights: DescriptorWeights = None,
    descriptor_sha256: DescriptorSha256 = None,
    as_json: Json = False,
) -> None:
    """Hash training pictures once, for audits that compare with millions of them.

    Reads the pictures of SOURCE. Writes the index into OUT, which --train-images takes.

    Example: engram index shards/ indexes/mine
    Then: engram audit --model ./my-pipeline --prompts captions.csv --train-images indexes/mine
    """
    with errors_as_lines():
        if (descriptor is None) != (descriptor_weights is None):
            raise SettingsError("--descriptor and --descriptor-weights belong together; give both or neither")
        from audit.training.descriptors import load_descriptor
        from audit.training_images import build_index

        learnt = None
        if descriptor is not None and descriptor_weights is not None:
            learnt = load_descriptor(descriptor_weights, descriptor, descriptor_sha256)
        n_pictures = build_index(source, out, aspect=aspect, descriptor=learnt)
        if as_json:
            say_json({"index": str(out), "n_pictures": n_pictures})
        else:
            say_text(f"{n_pictures} pictures in {out}")
