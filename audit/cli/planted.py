"""`flashbulb planted`: train models with planted images, to test audits on known memorization."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.command import CommandLine, Group
from flashbulb.audit.cli.shell.options import Json
from flashbulb.audit.cli.shell.output import print_json, print_text
from flashbulb.audit.planted.presets import ABOUT, PRESETS
from flashbulb.audit.settings import SettingsError

planted_app = CommandLine(cls=Group, help="Train models with planted images, and list the presets.")
app.add_typer(planted_app, name="planted", no_args_is_help=True)


@planted_app.command()
def train(
    preset: Annotated[str, typer.Option(help="Model to train; see `flashbulb planted list`.")] = "posters",
    out: Annotated[Path | None, typer.Option(help="Output folder; by default runs/planted-<preset>.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Device to train on; auto is cuda if available, else cpu.")
    ] = "auto",
) -> None:
    """Train a model with planted images, and measure which of them it memorized.

    Takes about an hour on two CPU cores. Run the same command again to resume an interrupted training.

    Reads nothing. Writes to --out: model/, captions.csv, reference.csv, pictures/, truth.parquet and manifest.json.

    Example: flashbulb planted train --preset catalogue --out runs/planted-catalogue
    Then: flashbulb audit --model runs/planted-catalogue/model --prompts runs/planted-catalogue/captions.csv
    """
    with errors_as_lines():
        if preset not in PRESETS:
            raise SettingsError(f"--preset: {preset!r} is not one of {', '.join(PRESETS)}")
        import torch

        from flashbulb.audit.model.loading.pipelines import resolve_device
        from flashbulb.audit.planted.recipe import train_planted

        if device == "cuda" and not torch.cuda.is_available():
            raise SettingsError("--device cuda: this machine has no CUDA device; use --device cpu")
        folder = out or Path("runs") / f"planted-{preset}"
        try:
            train_planted(PRESETS[preset], folder, torch.device(resolve_device(device)))
        except OSError as error:
            reason = error.strerror or error
            raise SettingsError(f"{folder} cannot be written: {reason}; choose another --out") from error
        print_text(f"planted model in {folder}")


@planted_app.command("list")
def list_presets(as_json: Json = False) -> None:
    """List the presets: what each model is, and how many images are planted in it.

    Example: flashbulb planted list
    """
    with errors_as_lines():
        if as_json:
            print_json({"presets": [{**asdict(preset), "about": ABOUT[name]} for name, preset in PRESETS.items()]})
            return
        for name, preset in PRESETS.items():
            n_captions = preset.n_planted_titles + preset.n_planted_descriptions
            templates = f"{preset.n_templates} templates in {preset.n_template_colours} colours"
            size = f"{preset.picture_size} x {preset.picture_size} pixels, {preset.prediction_type}"
            print_text(f"{name}: {ABOUT[name]}\n  {size}; {n_captions} captions and {templates} are planted")
