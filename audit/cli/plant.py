"""`flashbulb plant`: canaries for a training set, as positive controls of a later audit."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.options import Json, help_of, in_panel
from flashbulb.audit.cli.shell.output import print_json, print_text
from flashbulb.audit.settings import InputSettings, SettingsError
from flashbulb.reports.views.text import visible_text

_MOST_REPEATS = 10_000


@app.command()
def plant(
    captions: Annotated[
        str, typer.Argument(help="Captions of your data set: any file or folder that --prompts takes.")
    ],
    images: Annotated[Path, typer.Argument(help="Its images: a folder, .tar, .zip or .parquet, or a folder of these.")],
    out: Annotated[Path, in_panel("Output", "Folder to write to; it must not exist or be empty.")],
    number: Annotated[int, in_panel("Inputs", "Canaries to plant, twins apart.", min=9, max=10_000)] = 64,
    repeats: Annotated[
        list[int] | None,
        in_panel("Inputs", "Copies of a canary, one tier for each number (repeat for more); by default 1, 4 and 16."),
    ] = None,
    shared: Annotated[
        bool, in_panel("Inputs", "Plant a tier of single canaries, four of which share a part of their captions.")
    ] = True,
    pool: Annotated[
        Path | None, in_panel("Inputs", "Images to draw those of canaries from; by default they are painted.")
    ] = None,
    size: Annotated[
        int | None, in_panel("Inputs", "Pixels a side; by default as the first image.", min=16, max=4096)
    ] = None,
    text_column: Annotated[str | None, in_panel("Inputs", help_of(InputSettings, "text_column"))] = None,
    form: Annotated[
        Literal["imagefolder", "webdataset", "parquet"],
        in_panel("Output", "How train/ is stored, as Hugging Face datasets read it.", "--format"),
    ] = "imagefolder",
    with_data: Annotated[
        bool, in_panel("Output", "Write your own pairs into train/ as well, not only the canaries to add.")
    ] = False,
    seed: Annotated[
        int | None, in_panel("Inputs", "Seed of the draw and the coins; by default a new one.", min=0, max=2**31 - 1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Plant canaries in a training set, which show what a later audit can find in the model.

    A canary is a caption and an image in the style of your data. A recorded, fair coin decides whether it is trained
    on.
    `flashbulb audit --canaries` then states how many of them it detects and recovers, and how much the training leaks.

    Reads captions and images. Writes to --out: train/ (to train on), canaries/ (images of all), manifest.json (sealed)
    and README.md (what to do).

    Example: flashbulb plant captions.csv images/ --out planted
    Then: flashbulb audit --model ./my-pipeline --prompts captions.csv --canaries planted/manifest.json
    """
    with errors_as_lines():
        tiers = tuple(dict.fromkeys(repeats or (1, 4, 16)))
        if min(tiers) < 1:
            raise SettingsError(f"--repeats {min(tiers)}: a canary is in the training set at least once")
        if max(tiers) > _MOST_REPEATS:
            raise SettingsError(f"--repeats {max(tiers)}: a canary has at most {_MOST_REPEATS} copies")
        from flashbulb.audit.canaries import planting
        from flashbulb.audit.prompts.prompt_set import read_prompts

        asked = planting.Planting(
            images=images,
            n_canaries=number,
            repeats=tiers,
            has_shared=shared,
            pool=pool,
            side=size,
            format=form,
            with_data=with_data,
            text_column=text_column,
            seed=secrets.randbelow(2**31) if seed is None else seed,
        )
        planted = planting.plant(asked, read_prompts(captions, text_column), out)
        if as_json:
            bounds = {tier.name: asdict(bound) for tier, bound in zip(planted.tiers, planted.bounds, strict=True)}
            overall = asdict(planted.overall)
            print_json(
                {"out": str(out), "n_rows": planted.n_rows, "tiers": bounds, "all": overall, "seed": planted.seed}
            )
            return
        for tier, bound in zip(planted.tiers, planted.bounds, strict=True):
            print_text(
                f"{tier.name}: {tier.n} canaries, {bound.n_guesses} guesses, bound on ε up to {bound.ceiling:.2f}"
            )
        overall_text = f"{planted.overall.n_canaries} canaries, {planted.overall.n_guesses} guesses"
        print_text(f"all: {overall_text}, bound on ε up to {planted.overall.ceiling:.2f}")
        place = visible_text(str(out), 1000)
        print_text(f"{planted.n_rows:,} rows to train on in {place}/train; read {place}/README.md")
