"""`flashbulb index-runs`: write one page over many audits. Needs no model library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.options import in_panel
from flashbulb.audit.cli.shell.output import print_lines
from flashbulb.audit.settings import SettingsError

INDEX_PAGE = "index.html"


@app.command("index-runs")
def index_runs(
    directory: Annotated[Path, typer.Argument(help="Folder that run directories lie in, such as runs.")],
    out: Annotated[Path | None, in_panel("Output", "File to write; by default DIRECTORY/index.html.")] = None,
) -> None:
    """Write a page over many audits: model, date, verdict, and whether more or fewer images leak than before.

    A run that is unfinished or damaged is listed as untrusted, with the reason.

    Reads every run directory in DIRECTORY. Writes DIRECTORY/index.html or --out.

    Example: flashbulb index-runs runs

    Exit codes: 0 written, whatever the verdicts; 2 error in options or files, or no run directory; 4 internal error.
    """
    with errors_as_lines():
        from flashbulb.reports.gate.outputs import output_errors
        from flashbulb.reports.page.runs import write_runs_page

        page = out or directory / INDEX_PAGE
        if page.suffix not in (".html", ".htm"):
            raise SettingsError(f"--out {page} should end in .html, so that a browser opens it")
        with output_errors(page):
            write_runs_page(page, directory)
        print_lines([str(page)])
