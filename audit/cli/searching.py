"""`engram discover` and `engram index`: searches without captions, and training pictures to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.machine import lines_aside, print_json, run_document
from audit.cli.options import DESCRIPTOR_HELP, MODEL_HELP, TRAIN_IMAGES_HELP, WEIGHTS_HELP, AllowPickle, Force, Json
from audit.config import DiscoverSettings, SettingsError, with_defaults


@app.command()
def discover(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None,
    budget: Annotated[int | None, typer.Option(help="UNet evaluations to spend at most.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes after which no new round begins.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default runs/<model>-discovery.")] = None,
    train_images: Annotated[Path | None, typer.Option(help=TRAIN_IMAGES_HELP)] = None,
    descriptor: Annotated[str | None, typer.Option(help=DESCRIPTOR_HELP)] = None,
    descriptor_weights: Annotated[Path | None, typer.Option(help=WEIGHTS_HELP)] = None,
    descriptor_sha256: Annotated[str | None, typer.Option(help="Refuse weights of another hash.")] = None,
    n_starts: Annotated[int | None, typer.Option("--starts", help="Starts of a round.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of each ascent.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--rate", help="Learning rate of the ascents.")] = None,
    radius: Annotated[
        float | None, typer.Option(help="How far an ascent may move a token, in units of its norm.")
    ] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many rounds without a new picture.")] = None,
    seed: Annotated[int | None, typer.Option(help="Run seed; every random number follows from it.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Starts in one UNet call.")] = None,
    checkpointing: Annotated[
        bool, typer.Option(help="Take less memory and more time (gradient checkpointing).")
    ] = False,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
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

    Example: engram discover ./my-pipeline --budget 80000 --out runs/found
    """
    with errors_as_lines():
        settings = _discover_settings(context.params)
        from audit.discovering import run_discovery

        with lines_aside(as_json):
            run_discovery(settings, force=force)
        if as_json:
            print_json(run_document(settings.out))


def _discover_settings(given: Mapping[str, Any]) -> DiscoverSettings:
    """Settings from the options of `discover`, which are named like them; what was not given keeps its default."""
    embedded = with_defaults(None, None, None, None, None) if given["model"] is None else None
    model = given["model"] if embedded is None else str(embedded["model"])
    name = "embedded" if embedded is not None else Path(model.rstrip("/")).name or "model"
    chosen = {key: given[key] for key in DiscoverSettings.model_fields if given.get(key) is not None}
    if embedded is not None:
        chosen.setdefault("train_images", embedded["train_images"])
    chosen.setdefault("train_images", None)
    return DiscoverSettings.model_validate(
        {**chosen, "model": model, "out": given["out"] or Path("runs") / f"{name}-discovery"}
    )


@app.command()
def index(
    source: Annotated[Path, typer.Argument(help="A folder, an imagefolder, a .tar or a folder of .tar shards.")],
    out: Annotated[Path, typer.Argument(help="Folder of the index.")],
    aspect: Annotated[float, typer.Option(help="Width over height of the pictures that the audited model makes.")] = 1,
    descriptor: Annotated[str | None, typer.Option(help=DESCRIPTOR_HELP)] = None,
    descriptor_weights: Annotated[Path | None, typer.Option(help=WEIGHTS_HELP)] = None,
    descriptor_sha256: Annotated[str | None, typer.Option(help="Refuse weights of another hash.")] = None,
) -> None:
    """Hash training pictures once, for audits that compare with millions of them.

    Example: engram index shards/ indexes/mine
    Then: engram audit ... --train-images indexes/mine
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
        typer.echo(f"{n_pictures} pictures in {out}")
