"""Commands that judge finished audits, without the model: `gate`, `diff`, `waivers`. Parquet readers wait, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.command import CommandLine
from audit.cli.options import WAIVERS_HELP, Json, Policy, Waivers
from audit.cli.saying import say_json, say_lines
from audit.config import SettingsError
from reports.files import RUN_FILE, RunIncompleteError
from reports.text import visible_text

if TYPE_CHECKING:
    from reports.check import CheckedRun
    from reports.gate import GateReport
    from reports.gate_outputs import GateOutputs

RUN_HELP = "Run directory of a finished audit."
ShowPrompts = Annotated[bool, typer.Option(help="Name prompts by their words, not by file and row alone.")]
waivers_app = CommandLine(help="Check and add waivers: findings that somebody answers for until a day.")
app.add_typer(waivers_app, name="waivers", no_args_is_help=True)


@app.command()
def gate(
    run: Annotated[Path, typer.Argument(help=RUN_HELP)],
    policy: Policy = None,
    waivers: Waivers = None,
    baseline: Annotated[Path | None, typer.Option(help="Run directory to compare with.")] = None,
    new_only: Annotated[bool, typer.Option(help="Count only what is new or worse than in --baseline.")] = False,
    exit_zero: Annotated[bool, typer.Option(help="Exit 0 instead of 1; 2, 3 and 4 stay.")] = False,
    summary: Annotated[Path | None, typer.Option(help="Write a Markdown page.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write SARIF 2.1.0.")] = None,
    findings: Annotated[
        list[Path] | None, typer.Option(help="Write every finding, .jsonl or .parquet (repeat for both).")
    ] = None,
    model_card: Annotated[Path | None, typer.Option(help="Write a section for the model's card.")] = None,
    show_prompts: ShowPrompts = False,
    as_json: Json = False,
) -> None:
    """Turn a finished audit into an exit code: 0 pass, 1 fail, 2 usage, 3 not to be trusted.

    In a GitHub Actions step the page is appended to the step's summary, too.

    Reads RUN, a finished audit, and the files named. Writes only what an option names, and
    replaces nothing that the audit found.

    Example: engram gate runs/mine
    Example: engram gate runs/mine --policy policy.toml --waivers waivers.toml --junit junit.xml
    Example: engram gate runs/new --baseline runs/old --new-only

    Exit codes: 0 every limit holds; 1 the model leaks; 2 a mistake in options, settings or files; 3 not to be trusted;
    4 internal error.
    """
    with errors_as_lines():
        from reports.findings_file import check_findings_name
        from reports.gate import judge, untrusted_report
        from reports.gate_outputs import GateOutputs, check_places
        from reports.policy import read_policy
        from reports.waivers import read_waivers, today_in_utc

        limits, waived = read_policy(policy), read_waivers(waivers)
        for path in findings or ():
            check_findings_name(path)
        _check_baseline(run, baseline, new_only)
        outputs = GateOutputs(summary, junit, sarif, tuple(findings or ()), model_card, show_prompts)
        check_places(outputs, [path for path in (policy, waivers) if path], [path for path in (run, baseline) if path])
        try:
            checked, before = load_run_to_judge(run), load_run_to_judge(baseline) if baseline else None
            report = judge(checked, limits, waived, before, new_only=new_only, today=today_in_utc())
        except RunIncompleteError as error:
            _state(outputs, untrusted_report(str(error), limits), None, as_json=as_json)
            raise
        _state(outputs, report, checked, as_json=as_json)
        raise typer.Exit(0 if exit_zero and report.verdict.outcome == "fail" else report.verdict.exit_code)


def _state(outputs: GateOutputs, report: GateReport, checked: CheckedRun | None, *, as_json: bool) -> None:
    """Say one verdict everywhere; of a run that could not be read, the lines are the error's."""
    from reports.gate_json import gate_document
    from reports.gate_markdown import gate_markdown
    from reports.gate_outputs import write_outputs, writing
    from reports.gate_terminal import gate_lines
    from reports.step_summary import append_step_summary

    with writing("the step summary"):
        append_step_summary(gate_markdown(report, outputs.show_prompts))
    write_outputs(outputs, report, checked)
    if as_json:
        say_json(gate_document(report, outputs.show_prompts))
    elif checked is not None:
        say_lines(gate_lines(report, outputs.show_prompts))


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="Run directory of the older audit.")],
    new: Annotated[Path, typer.Argument(help="Run directory of the newer audit.")],
    show_prompts: ShowPrompts = False,
    as_json: Json = False,
) -> None:
    """Compare the findings of two audits of the same prompts: new, worse, better, unchanged, fixed.

    `engram gate NEW --baseline OLD --new-only` decides.

    Reads two finished audits. Writes nothing.

    Example: engram diff runs/checkpoint-1000 runs/checkpoint-2000

    Exit codes: 0 whatever changed; 2 the audits cannot be compared, or a mistake in options; 3 one of them is not to
    be trusted; 4 internal error.
    """
    with errors_as_lines(), _untrusted_said(as_json):
        from reports.diff import check_comparable, compare, comparison_notes, distrust_notes
        from reports.gate_json import diff_document
        from reports.gate_terminal import diff_lines

        before, after = load_run_to_judge(old), load_run_to_judge(new)
        check_comparable(before.record, after.record)
        changes = compare(before.findings, after.findings)
        notes = (*comparison_notes(before.record, after.record), *distrust_notes(before, after))
        if as_json:
            say_json(diff_document(before, after, changes, notes, show_prompts))
        else:
            say_lines(diff_lines(changes, notes, show_prompts))


@waivers_app.command("check")
def check_waivers(
    file: Annotated[Path, typer.Argument(help=WAIVERS_HELP)],
    run: Annotated[Path | None, typer.Option(help="Run directory to hold the waivers against.")] = None,
    as_json: Json = False,
) -> None:
    """Say of every waiver whether it holds: 0 if none has expired, 1 if one has, 2 if the file cannot be read.

    Reads FILE and, if given, a finished audit, which tells the waivers without a finding. Writes nothing.

    Example: engram waivers check waivers.toml --run runs/mine

    Exit codes: 0 none has expired; 1 one has; 2 a mistake in options or in the file; 3 the audit is not to be trusted;
    4 internal error.
    """
    with errors_as_lines(), _untrusted_said(as_json):
        from reports.gate_json import waivers_document
        from reports.gate_terminal import waiver_lines
        from reports.waivers import read_waivers, today_in_utc

        waivers, today = read_waivers(file), today_in_utc()
        findings = load_run_to_judge(run).findings if run else None
        if as_json:
            say_json(waivers_document(waivers, findings, today))
        else:
            say_lines(waiver_lines(waivers, findings, today))
        raise typer.Exit(1 if any(waiver.is_expired(today) for waiver in waivers) else 0)


@waivers_app.command("add")
def add_to_waivers(
    file: Annotated[Path, typer.Argument(help="File of waivers; made if there is none.")],
    fingerprint: Annotated[str, typer.Argument(help="Of the finding, as `engram gate` prints it.")],
    reason: Annotated[str, typer.Option(help="Why the finding may stay.")],
    owner: Annotated[str, typer.Option(help="Who answers for it.")],
    expires: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day on which it holds.")],
    run: Annotated[Path | None, typer.Option(help="Run directory that must have the finding.")] = None,
) -> None:
    """Append a waiver; the rest of the file stays as it is.

    Reads FILE and, if given, a finished audit. Writes FILE.

    Example: engram waivers add waivers.toml 0123456789abcdef --reason "public domain" --owner ana --expires 2027-06-30
    """
    with errors_as_lines():
        from reports.gate_outputs import writing
        from reports.waivers import add_waiver, new_waiver, today_in_utc

        waiver = new_waiver(fingerprint, reason, owner, expires.date(), today_in_utc())
        if run and fingerprint not in {finding.fingerprint for finding in load_run_to_judge(run).findings}:
            raise SettingsError(f"{run} has no finding {fingerprint}; `engram gate {run}` names those it has")
        with writing(file):
            add_waiver(file, waiver)
        say_lines([f"{fingerprint} is waived by {visible_text(owner, 200)} until {waiver.expires}"])


@contextmanager
def _untrusted_said(as_json: bool) -> Iterator[None]:
    """A document of a run that cannot be read is a document, too."""
    try:
        yield
    except RunIncompleteError as error:
        if as_json:
            from reports.gate_json import untrusted_document

            say_json(untrusted_document(str(error)))
        raise


def load_run_to_judge(directory: Path) -> CheckedRun:
    """Read a run for a judgement; what reads Parquet is imported only now."""
    from reports.check import load_checked

    return load_checked(directory)


def _check_baseline(run: Path, baseline: Path | None, new_only: bool) -> None:
    if new_only and baseline is None:
        raise SettingsError("--new-only needs --baseline: the run directory of the older audit")
    if baseline is not None and _is_same_run(baseline, run):
        raise SettingsError(f"--baseline {baseline} is the run itself, in which nothing can be new; give an older one")


def _is_same_run(one: Path, other: Path) -> bool:
    """Whether two paths lead to one directory, or to one record through links."""
    records = one / RUN_FILE, other / RUN_FILE
    return one.resolve() == other.resolve() or (all(map(os.path.isfile, records)) and records[0].samefile(records[1]))
