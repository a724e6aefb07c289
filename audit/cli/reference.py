"""`flashbulb reference`: reference prompts for those who have none, made of the parts of the prompts to audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.options import Json, help_of
from flashbulb.audit.cli.shell.output import print_json, print_text
from flashbulb.audit.settings import InputSettings, SettingsError
from flashbulb.reports.views.text import visible_text


@app.command()
def reference(
    prompts: Annotated[
        Path, typer.Argument(help="Prompts to audit; same file formats as `flashbulb audit --prompts`.")
    ],
    out: Annotated[Path, typer.Option(help="File to write, one prompt a line (.txt).")],
    number: Annotated[int, typer.Option(min=4, help="Prompts to make.")] = 300,
    training_captions: Annotated[
        Path | None, typer.Option(help="Captions of the training set; no prompt is made near one of them.")
    ] = None,
    text_column: Annotated[str | None, typer.Option(help=help_of(InputSettings, "text_column"))] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Make reference prompts in the style of the prompts to audit, for those who have no clean ones.

    Joins parts of two prompts, makes names and numbers anew, and drops what is near a given prompt or training
    caption. Prompts that people wrote, and that are surely not in the training set, are a better reference.

    Reads PROMPTS and, if given, the training captions. Writes --out.

    Example: flashbulb reference captions.csv --training-captions training.csv --out clean.txt
    Then: flashbulb audit --model ./my-pipeline --prompts captions.csv --reference clean.txt
    """
    with errors_as_lines():
        if out.suffix != ".txt":
            raise SettingsError(f"--out {out}: prompts are written one a line; name the file .txt")
        if out.exists():
            raise SettingsError(f"--out {out} exists; remove it, or choose another name")
        import numpy as np

        from flashbulb.audit.prompts.prompt_set import read_prompts
        from flashbulb.audit.prompts.recombined import TooFewPartsError, recombine
        from flashbulb.reports.gate.outputs import output_errors
        from flashbulb.reports.tables.files import write_text

        given = read_prompts(str(prompts), text_column).prompts.texts
        trained = read_prompts(str(training_captions), text_column).prompts if training_captions else ()
        try:
            made = recombine(given, number, np.random.default_rng(seed), avoid=[prompt.text for prompt in trained])
        except TooFewPartsError as error:
            raise SettingsError(f"{prompts}: {error}") from error
        with output_errors(out):
            write_text(out, "".join(f"{text}\n" for text in made))
        if as_json:
            print_json({"reference": str(out), "n_prompts": len(made), "n_given": len(given)})
        else:
            print_text(visible_text(f"{len(made)} prompts in {out}, made of the parts of {len(given)}", 1000))
