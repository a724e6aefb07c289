"""`engram planted`: models with planted memories, for testing audits on what is known."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.command import CommandLine
from audit.cli.options import Json
from audit.cli.saying import say_json, say_text
from audit.config import SettingsError
from audit.planted.presets import ABOUT, PRESETS

planted_app = CommandLine(help="Train models whose memories are planted and measured, and list the presets.")
app.add_typer(planted_app, name="planted", no_args_is_help=True)


@planted_app.command()
def train(
    preset: Annotated[str, typer.Option(help="Which model; see `engram planted list`.")] = "posters",
    out: Annotated[Path | None, typer.Option(help="Folder of the model; by default runs/planted-<preset>.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto is cuda where there is one.")] = "auto",
) -> None:
    """Train a model with planted memories, and measure what it memorized; takes an hour or so on two cores.

    The same command goes on where it stopped. Reads nothing. Writes --out: model/, captions.csv, reference.csv,
    pictures/, truth.parquet and manifest.json.

    Example: engram planted train --preset catalogue --out runs/planted-catalogue
    Then: engram audit --model runs/planted-catalogue/model --prompts runs/planted-catalogue/captions.csv
    """
    with errors_as_lines():
        if preset not in PRESETS:
            raise SettingsError(f"--preset {preset!r} is none of {', '.join(PRESETS)}")
        import torch

        from audit.planted.recipe import train_planted
        from audit.session import device_of

        if device == "cuda" and not torch.cuda.is_available():
            raise SettingsError("--device cuda, but this machine has no CUDA device; use --device cpu")
        folder = out or Path("runs") / f"planted-{preset}"
        try:
            train_planted(PRESETS[preset], folder, torch.device(device_of(device)))
        except OSError as error:
            reason = error.strerror or error
            raise SettingsError(f"{folder} cannot be written: {reason}; choose another --out") from error
        say_text(f"planted model in {folder}")


@planted_app.command("list")
def list_presets(as_json: Json = False) -> None:
    """List the models that can be trained: what each is, and how much is planted in it.

    Example: engram planted list
    """
    with errors_as_lines():
        if as_json:
            say_json({"presets": [{**asdict(preset), "about": ABOUT[name]} for name, preset in PRESETS.items()]})
            return
        for name, preset in PRESETS.items():
            n_captions = preset.n_planted_titles + preset.n_planted_descriptions
            templates = f"{preset.n_templates} templates in {preset.n_template_colours} colours"
            size = f"{preset.picture_size} x {preset.picture_size} pixels, {preset.prediction_type}"
            say_text(f"{name}: {ABOUT[name]}\n  {size}; {n_captions} captions and {templates} are planted")
