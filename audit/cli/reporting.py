"""`engram report`: the page of a finished audit, for people; like the gate it needs no model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.gating import RUN_HELP, load_run_to_judge
from audit.cli.options import Json, Policy, Waivers
from audit.cli.saying import say_json, say_text
from audit.config import SettingsError
from reports.files import REPORT_FILE, RunIncompleteError


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help=RUN_HELP)],
    out: Annotated[Path | None, typer.Option(help="File of the page; by default RUN/report.html.")] = None,
    policy: Policy = None,
    waivers: Waivers = None,
    redact_prompts: Annotated[bool, typer.Option(help="Name prompts by file and row, link to no file.")] = False,
    images: Annotated[bool, typer.Option(help="Show pictures.")] = True,
    blur: Annotated[bool, typer.Option(help="Blur pictures beyond recognition.")] = False,
    as_json: Json = False,
) -> None:
    """Write the page of a finished audit: verdict, findings with their pictures, all prompts, figures, method.

    One self-contained file: it opens without a network, from a disk or as an attachment. Links to full pictures work
    while it lies beside the run. `engram gate` decides.

    Reads RUN, a finished audit, and the files named. Writes one file, RUN/report.html or --out.

    Example: engram report runs/mine
    Example: engram report runs/mine --redact-prompts --blur --out for-outside.html

    Exit codes: 0 written, whatever the verdict; 2 a mistake in options, settings or files; 3 not to be trusted;
    4 internal error.
    """
    with errors_as_lines():
        from reports.gate import judge
        from reports.gate_outputs import writing
        from reports.html import PageOptions, images_mode, write_report
        from reports.policy import read_policy
        from reports.waivers import read_waivers, today_in_utc

        if blur and not images:
            raise SettingsError("--blur and --no-images are two ways to hide pictures; give one of them")
        limits, waived, page = read_policy(policy), read_waivers(waivers), out or run / REPORT_FILE
        if page.suffix not in (".html", ".htm"):
            raise SettingsError(f"--out {page} should end in .html, so that it opens as a page")
        try:
            checked = load_run_to_judge(run)
        except RunIncompleteError:
            with writing(page):
                page.unlink(missing_ok=True)  # a page of before would say otherwise
            raise
        judged = judge(checked, limits, waived, None, new_only=False, today=today_in_utc())
        with writing(page):
            write_report(page, run, checked, judged, PageOptions(redact_prompts, images_mode(images, blur)))
        if as_json:
            say_json({"report": str(page), "outcome": judged.verdict.outcome, "exit_code": judged.verdict.exit_code})
        else:
            say_text(str(page))
