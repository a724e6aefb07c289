"""`flashbulb report`: write the HTML report of a finished audit. Needs no model library."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.gate import RUN_HELP
from flashbulb.audit.cli.shell.options import Json, in_panel, options_of, takes
from flashbulb.audit.cli.shell.output import print_json, print_lines
from flashbulb.audit.cli.shell.runs import load_run_to_judge, refuse_same_run
from flashbulb.audit.run.lock import hold_directory
from flashbulb.audit.settings import SettingsError, VerdictSettings
from flashbulb.reports.tables.files import REPORT_FILE, RunIncompleteError


@app.command()
@takes(options_of(VerdictSettings, "policy", "waivers"))
def report(
    run: Annotated[Path, typer.Argument(help=RUN_HELP)],
    out: Annotated[Path | None, in_panel("Output", "File to write; by default RUN/report.html.")] = None,
    *,
    baseline: Annotated[
        Path | None, in_panel("Judgement", "Run directory of an older audit; the page marks what is new since then.")
    ] = None,
    redact_prompts: Annotated[
        bool | None,
        in_panel("Output", "Name prompts by file and row, and leave out links to files; by default as the audit did."),
    ] = None,
    images: Annotated[bool, in_panel("Output", "Show images.")] = True,
    blur: Annotated[
        bool | None, in_panel("Output", "Blur images beyond recognition; by default as the audit did.")
    ] = None,
    evidence: Annotated[
        bool, in_panel("Output", "Write the evidence annex as well: evidence.html and evidence.md beside the report.")
    ] = False,
    context: Annotated[
        Path | None,
        in_panel("Output", "Statements on the release for the annex (TOML): purpose, controller, and others."),
    ] = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Write the HTML report of a finished audit: verdict, findings with images, all prompts, figures, method.

    The report is one self-contained file that needs no network. Its links to full-size images work as long as it stays
    in the run directory. The verdict does not change the exit code; use `flashbulb gate` for that.

    `--evidence` also writes an annex to hand to a data-protection officer or a regulator, without images: what was
    extractable by which attacks, what was not tried, controls, limits, hashes, and how to check them.

    Reads RUN, a finished audit, and the given policy, waivers, baseline and context. Writes RUN/report.html or --out,
    and with `--evidence` the annex into the same folder.

    Example: flashbulb report runs/mine
    Example: flashbulb report runs/new --baseline runs/old
    Example: flashbulb report runs/mine --redact-prompts --blur --out for-outside.html
    Example: flashbulb report runs/mine --evidence --context release.toml

    Exit codes: 0 written, whatever the verdict; 2 error in options, settings or files; 3 the audit cannot be trusted;
    4 internal error.
    """
    with errors_as_lines():
        from flashbulb.reports.evidence.context import read_context
        from flashbulb.reports.evidence.write import annex_paths, write_annex
        from flashbulb.reports.gate.judgement import judge
        from flashbulb.reports.gate.outputs import output_errors
        from flashbulb.reports.gate.policy import read_policy
        from flashbulb.reports.gate.waivers import read_waivers, today_in_utc
        from flashbulb.reports.page.report import page_options, write_report

        if blur and not images:
            raise SettingsError("--blur and --no-images exclude each other; give one of them")
        if context is not None and not evidence:
            raise SettingsError("--context is for the annex; give --evidence as well")
        limits, waived = read_policy(options["policy"]), read_waivers(options["waivers"])
        stated, page = read_context(context), out or run / REPORT_FILE
        written = (page, *(annex_paths(page.parent) if evidence else ()))
        if page.suffix not in (".html", ".htm"):
            raise SettingsError(f"--out {page} should end in .html, so that a browser opens it")
        refuse_same_run(run, baseline)
        older = load_run_to_judge(baseline) if baseline else None
        try:
            checked = load_run_to_judge(run)
        except RunIncompleteError:
            with output_errors(page):
                for path in written:
                    path.unlink(missing_ok=True)  # an earlier report would contradict the error
            raise
        today = today_in_utc()
        judged = judge(checked, limits, waived, older, new_only=False, today=today)
        shown = page_options(checked, older, redact_prompts=redact_prompts, show_images=images, blur=blur)
        with output_errors(page), held_if_inside(run, page):
            write_report(page, run, checked, judged, shown)
            if evidence:
                write_annex(page.parent, run, checked, judged, stated, redact=shown.redact_prompts, today=today)
        if as_json:
            annex = [str(path) for path in written[1:]]
            verdict = judged.verdict
            print_json(
                {"report": str(page), "annex": annex, "outcome": verdict.outcome, "exit_code": verdict.exit_code}
            )
        else:
            print_lines(str(path) for path in written)


def held_if_inside(run: Path, file: Path) -> AbstractContextManager[None]:
    """Hold the run while a file in it is written; a file elsewhere concerns nobody."""
    return hold_directory(run) if file.parent.resolve() == run.resolve() else nullcontext()
