"""`flashbulb show`: print one prompt of a run. Needs no model library."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.options import Json
from flashbulb.audit.cli.shell.output import print_json, print_lines
from flashbulb.audit.cli.shell.runs import load_run_to_judge
from flashbulb.reports.tables.run_record import COMPLETE


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="Run directory of an audit whose prompts are scored.")],
    prompt: Annotated[
        str,
        typer.Argument(
            help="Finding number or fingerprint, prompt id, `file:row`, training image, or a part of the prompt's text."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show all results for one prompt: scores, neurons, attempts, images, and prompts with the same image.

    Reads RUN, as soon as `flashbulb detect` or `flashbulb audit` has scored its prompts. Writes nothing.

    A number is that of the finding in the report and in `flashbulb gate`. If several prompts match, they are listed.

    Example: flashbulb show runs/mine 1
    Example: flashbulb show runs/mine captions.csv:17
    Example: flashbulb show runs/mine "the museum of Vensa Raviu, white edition"

    Exit codes: 0 shown; 2 error in options, settings or files, or no such prompt; 3 nothing is scored yet, or a table
    is damaged or of another audit; 4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        from flashbulb.reports.prompts.terminal import prompt_lines
        from flashbulb.reports.prompts.view import view_prompt
        from flashbulb.reports.tables.record_files import read_content

        is_complete = read_content(run, "audit").get("status") == COMPLETE
        view = view_prompt(run, prompt, load_run_to_judge(run).findings if is_complete else None)
        if as_json:
            print_json(asdict(view))
        else:
            print_lines(prompt_lines(view))
