"""`flashbulb report`: write the HTML report of a finished audit. Needs no model library."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.gate import RUN_HELP, load_run_to_judge
from flashbulb.audit.cli.shell.options import Json, options_of, takes
from flashbulb.audit.cli.shell.output import print_json, print_text
from flashbulb.audit.run.lock import hold_directory
from flashbulb.audit.settings import SettingsError, VerdictSettings
from flashbulb.reports.tables.files import REPORT_FILE, RunIncompleteError


@app.command()
@takes(options_of(VerdictSettings, "policy", "waivers"))
def report(
    run: Annotated[Path, typer.Argument(help=RUN_HELP)],
    out: Annotated[Path | None, typer.Option(help="File to write; by default RUN/report.html.")] = None,
    *,
    redact_prompts: Annotated[
        bool, typer.Option(help="Name prompts by file and row, and leave out links to files.")
    ] = False,
    images: Annotated[bool, typer.Option(help="Show images.")] = True,
    blur: Annotated[bool, typer.Option(help="Blur images beyond recognition.")] = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Write the HTML report of a finished audit: verdict, findings with images, all prompts, figures, method.

    The report is one self-contained file that needs no network. Its links to full-size images work as long as it stays
    in the run directory. The verdict does not change the exit code; use `flashbulb gate` for that.

    Reads RUN, a finished audit, and the given policy and waivers. Writes one file, RUN/report.html or --out.

    Example: flashbulb report runs/mine
    Example: flashbulb report runs/mine --redact-prompts --blur --out for-outside.html

    Exit codes: 0 written, whatever the verdict; 2 error in options, settings or files; 3 the audit cannot be trusted;
    4 internal error.
    """
    with errors_as_lines():
        from flashbulb.reports.gate.judgement import judge
        from flashbulb.reports.gate.outputs import output_errors
        from flashbulb.reports.gate.policy import read_policy
        from flashbulb.reports.gate.waivers import read_waivers, today_in_utc
        from flashbulb.reports.page.report import PageOptions, image_mode, write_report

        if blur and not images:
            raise SettingsError("--blur and --no-images exclude each other; give one of them")
        limits, waived = read_policy(options["policy"]), read_waivers(options["waivers"])
        page = out or run / REPORT_FILE
        if page.suffix not in (".html", ".htm"):
            raise SettingsError(f"--out {page} should end in .html, so that a browser opens it")
        try:
            checked = load_run_to_judge(run)
        except RunIncompleteError:
            with output_errors(page):
                page.unlink(missing_ok=True)  # an earlier report would contradict the error
            raise
        judged = judge(checked, limits, waived, None, new_only=False, today=today_in_utc())
        with output_errors(page), _held(run, page):
            write_report(page, run, checked, judged, PageOptions(redact_prompts, image_mode(images, blur)))
        if as_json:
            print_json({"report": str(page), "outcome": judged.verdict.outcome, "exit_code": judged.verdict.exit_code})
        else:
            print_text(str(page))


def _held(run: Path, page: Path) -> AbstractContextManager[None]:
    """Hold the run while a page in it is written; a page elsewhere concerns nobody."""
    return hold_directory(run) if page.parent.resolve() == run.resolve() else nullcontext()
