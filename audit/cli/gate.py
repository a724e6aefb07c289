"""Commands that judge finished audits without the model: `gate`, `diff` and `waivers`.

Parquet readers are imported inside the commands, so that `--help` stays fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.command import CommandLine, Group
from flashbulb.audit.cli.shell.options import Json, format_options, help_of, in_panel, options_of, takes
from flashbulb.audit.cli.shell.output import print_json, print_lines
from flashbulb.audit.cli.shell.runs import load_run_to_judge, refuse_same_run
from flashbulb.audit.settings import SettingsError, VerdictSettings
from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.views.text import visible_text

if TYPE_CHECKING:
    from flashbulb.reports.gate.formats import Judgement
    from flashbulb.reports.gate.outputs import Output

RUN_HELP = "Run directory of a finished audit."
ShowPrompts = Annotated[
    bool, in_panel("Output", "Show the text of prompts; without it they are named by file and row.")
]
waivers_app = CommandLine(cls=Group, help="Check and add waivers, which accept a finding until a date.")
app.add_typer(waivers_app, name="waivers", no_args_is_help=True)


@app.command()
@takes(options_of(VerdictSettings, "policy", "waivers"), format_options())
def gate(
    run: Annotated[Path, typer.Argument(help=RUN_HELP)],
    *,
    baseline: Annotated[Path | None, in_panel("Judgement", "Run directory of an older audit to compare with.")] = None,
    new_only: Annotated[
        bool, in_panel("Judgement", "Count only findings that are new or worse than in --baseline.")
    ] = False,
    strict: Annotated[
        bool, in_panel("Judgement", "Exit with 3 if the audit is inconclusive: it could have missed too much to pass.")
    ] = False,
    exit_zero: Annotated[
        bool, in_panel("Judgement", "Exit with 0 instead of 1 if the model leaks; 2, 3 and 4 are unchanged.")
    ] = False,
    show_prompts: ShowPrompts = False,
    redact_prompts: Annotated[
        bool, in_panel("Output", "Leave out the names of training images; so it is if the audit had this option.")
    ] = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Judge a finished audit and exit with the verdict: 0 pass or inconclusive, 1 the model leaks, 3 untrusted.

    In a GitHub Actions step, also appends a Markdown summary to the step's summary.

    Reads RUN, a finished audit, and the given policy, waivers and baseline. Writes only the files that options name,
    and never overwrites the audit's own results.

    Example: flashbulb gate runs/mine
    Example: flashbulb gate runs/mine --policy policy.toml --waivers waivers.toml --junit junit.xml
    Example: flashbulb gate runs/new --baseline runs/old --new-only

    Exit codes: 0 no limit is exceeded; 1 the model leaks; 2 error in options, settings or files; 3 the audit cannot be
    trusted, or with --strict is inconclusive; 4 internal error.
    """
    with errors_as_lines():
        from flashbulb.reports.gate.formats import Judgement
        from flashbulb.reports.gate.judgement import is_told, judge, untrusted_report
        from flashbulb.reports.gate.outputs import check_output_paths, requested_outputs
        from flashbulb.reports.gate.policy import read_policy
        from flashbulb.reports.gate.waivers import read_waivers, today_in_utc

        policy, waivers = options["policy"], options["waivers"]
        if show_prompts and redact_prompts:
            raise SettingsError("--show-prompts and --redact-prompts exclude each other; give one of them")
        limits, waived = read_policy(policy), read_waivers(waivers)
        outputs = requested_outputs(options)
        if new_only and baseline is None:
            raise SettingsError("--new-only needs --baseline, the run directory of an older audit")
        refuse_same_run(run, baseline)
        check_output_paths(
            outputs, [path for path in (policy, waivers) if path], [path for path in (run, baseline) if path]
        )
        try:
            checked, older = load_run_to_judge(run), load_run_to_judge(baseline) if baseline else None
            report = judge(checked, limits, waived, older, new_only=new_only, today=today_in_utc(), strict=strict)
        except RunIncompleteError as error:
            untrusted = Judgement(untrusted_report(str(error), limits), None, show_prompts)
            _write_verdict(outputs, untrusted, run, as_json=as_json)
            raise
        if redact_prompts or is_told("redact_prompts", checked, older):
            report = report.without_names()
        _write_verdict(outputs, Judgement(report, checked, show_prompts), run, as_json=as_json)
        raise typer.Exit(0 if exit_zero and report.verdict.outcome == "fail" else report.verdict.exit_code)


def _write_verdict(outputs: Sequence[Output], judgement: Judgement, run: Path, *, as_json: bool) -> None:
    """Write one verdict to every output.

    If the run could not be read, only JSON is printed, because the error line says the rest.
    """
    from flashbulb.reports.gate.documents import gate_document
    from flashbulb.reports.gate.markdown import gate_markdown
    from flashbulb.reports.gate.outputs import append_step_summary, write_outputs
    from flashbulb.reports.gate.terminal import gate_lines

    report, show_prompts = judgement.report, judgement.show_prompts
    append_step_summary(gate_markdown(report, show_prompts))
    write_outputs(outputs, judgement)
    if as_json:
        print_json(gate_document(report, show_prompts))
    elif judgement.run is not None:
        print_lines(gate_lines(report, show_prompts, str(run)))


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="Run directory of the older audit.")],
    new: Annotated[Path, typer.Argument(help="Run directory of the newer audit.")],
    show_prompts: ShowPrompts = False,
    as_json: Json = False,
) -> None:
    """Compare the findings of two audits of the same prompts: new, worse, better, unchanged, fixed.

    Differences do not change the exit code; use `flashbulb gate NEW --baseline OLD --new-only` for that.

    Reads two finished audits. Writes nothing.

    Example: flashbulb diff runs/checkpoint-1000 runs/checkpoint-2000

    Exit codes: 0 compared, whatever changed; 2 the audits cannot be compared, or an error in options; 3 an audit cannot
    be trusted; 4 internal error.
    """
    with errors_as_lines(), untrusted_as_document(as_json):
        from flashbulb.reports.gate.diff import check_comparable, compare_runs, comparison_notes, distrust_notes
        from flashbulb.reports.gate.documents import diff_document
        from flashbulb.reports.gate.judgement import is_told
        from flashbulb.reports.gate.terminal import diff_lines

        older, newer = load_run_to_judge(old), load_run_to_judge(new)
        check_comparable(older.record, newer.record)
        changes = compare_runs(older, newer)
        if is_told("redact_prompts", older, newer):
            changes = tuple(changed._replace(finding=changed.finding.without_names()) for changed in changes)
        notes = (*comparison_notes(older.record, newer.record), *distrust_notes(older, newer))
        if as_json:
            print_json(diff_document(older, newer, changes, notes, show_prompts))
        else:
            print_lines(diff_lines(changes, notes, show_prompts))


@waivers_app.command("check")
def check_waivers(
    file: Annotated[Path, typer.Argument(help=help_of(VerdictSettings, "waivers"))],
    run: Annotated[
        Path | None, typer.Option(help="Run directory of a finished audit; marks waivers that match no finding.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List every waiver and whether it has expired.

    Reads FILE and, if given, a finished audit. Writes nothing.

    Example: flashbulb waivers check waivers.toml --run runs/mine

    Exit codes: 0 no waiver has expired; 1 at least one has; 2 error in options or in the file; 3 the audit cannot be
    trusted; 4 internal error.
    """
    with errors_as_lines(), untrusted_as_document(as_json):
        from flashbulb.reports.gate.documents import waivers_document
        from flashbulb.reports.gate.terminal import waiver_lines
        from flashbulb.reports.gate.waivers import not_before, read_waivers, today_in_utc

        waivers, checked = read_waivers(file), load_run_to_judge(run) if run else None
        findings = None if checked is None else checked.findings
        today = not_before(None if checked is None else checked.record.finished, today_in_utc())
        if as_json:
            print_json(waivers_document(waivers, findings, today))
        else:
            print_lines(waiver_lines(waivers, findings, today))
        raise typer.Exit(1 if any(waiver.is_expired(today) for waiver in waivers) else 0)


@waivers_app.command("add")
def add_to_waivers(
    file: Annotated[Path, typer.Argument(help="File of waivers; created if it does not exist.")],
    fingerprint: Annotated[str, typer.Argument(help="Fingerprint of the finding, as `flashbulb gate` prints it.")],
    reason: Annotated[str, typer.Option(help="Why the finding is accepted.")],
    owner: Annotated[str, typer.Option(help="Who is responsible for this decision.")],
    expires: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day on which the waiver is valid.")],
    run: Annotated[
        Path | None, typer.Option(help="Run directory of a finished audit that must contain the finding.")
    ] = None,
) -> None:
    """Add a waiver to a file; the rest of the file stays unchanged.

    With `--run`, the waiver names the training images that the finding copies, and is of no others.

    Reads FILE and, if given, a finished audit. Writes FILE.

    Example: flashbulb waivers add waivers.toml 0123456789abcdef --reason "licensed" --owner ana --expires 2027-06-30
    """
    with errors_as_lines():
        from flashbulb.reports.gate.judgement import is_told
        from flashbulb.reports.gate.outputs import output_errors
        from flashbulb.reports.gate.waivers import add_waiver, copied_names, new_waiver, today_in_utc

        waiver = new_waiver(fingerprint, reason, owner, expires.date(), today_in_utc())
        if run:
            checked = load_run_to_judge(run)
            finding = next((f for f in checked.findings if f.fingerprint == fingerprint), None)
            if finding is None:
                raise SettingsError(f"{run} has no finding {fingerprint}; `flashbulb gate {run}` lists its findings")
            if not is_told("redact_prompts", checked):
                waiver = waiver.model_copy(update={"images": tuple(sorted(copied_names(finding)))})
        with output_errors(file):
            add_waiver(file, waiver)
        print_lines([f"{fingerprint} is waived by {visible_text(owner, 200)} until {waiver.expires}"])


@contextmanager
def untrusted_as_document(as_json: bool) -> Iterator[None]:
    """Print a JSON document, if asked for one, even if a run cannot be read. The error is raised again."""
    try:
        yield
    except RunIncompleteError as error:
        if as_json:
            from flashbulb.reports.gate.documents import untrusted_document

            print_json(untrusted_document(str(error)))
        raise
