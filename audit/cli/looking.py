"""`engram show`: one prompt of a run; no model library is needed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.options import Json
from audit.cli.saying import say_json, say_lines


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="Run directory of an audit that is detected or complete.")],
    prompt: Annotated[str, typer.Argument(help="Id of a prompt, the beginning of one, or the prompt's exact text.")],
    as_json: Json = False,
) -> None:
    """Show everything that a run knows of one prompt: scores, neurons, rungs, pictures, and who gave the same.

    Reads RUN, once `engram detect` or `engram audit` has scored it. Writes nothing.

    Example: engram show runs/mine 3f2a
    Example: engram show runs/mine "the museum of Vensa Raviu, white edition"

    Exit codes: 0 shown; 2 a mistake in options, settings or files, or no such prompt; 3 nothing is scored yet, or a
    table is damaged; 4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        from reports.prompt_terminal import prompt_lines
        from reports.prompt_view import view_prompt

        view = view_prompt(run, prompt)
        if as_json:
            say_json(asdict(view))
        else:
            say_lines(prompt_lines(view))
