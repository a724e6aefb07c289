"""Commands that judge finished audits, without the model: `gate`, `diff`, `waivers`. Parquet readers wait, too."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.command import CommandLine
from audit.config import SettingsError
from reports.files import RunIncompleteError

if TYPE_CHECKING:
    from reports.check import CheckedRun

_RUN_HELP = "Run directory of a finished audit."
_SHOW_HELP = "Name prompts by their words, not by file and row alone."
_WAIVERS_HELP = "Findings that somebody answers for (TOML)."
waivers_app = CommandLine(help="Check and add waivers: findings that somebody answers for until a day.")
app.add_typer(waivers_app, name="waivers", no_args_is_help=True)


@app.command()
def gate(
    run: Annotated[Path, typer.Argument(help=_RUN_HELP)],
    policy: Annotated[Path | None, typer.Option(help="Limits (TOML); by default no memorized picture at all.")] = None,
    waivers: Annotated[Path | None, typer.Option(help=_WAIVERS_HELP)] = None,
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
    show_prompts: Annotated[bool, typer.Option(help=_SHOW_HELP)] = False,
) -> None:
    """Turn a finished audit into an exit code: 0 pass, 1 fail, 2 usage, 3 not to be trusted.

    In a GitHub Actions step the page is appended to the step's summary, too.

    Reads RUN, a finished audit, and the files named. Writes only what an option names, and never into RUN.

    Example: engram gate runs/mine
    Example: engram gate runs/mine --policy policy.toml --waivers waivers.toml --junit junit.xml
    Example: engram gate runs/new --baseline runs/old --new-only

    Exit codes: 0 every limit holds; 1 the model leaks; 2 a mistake in options, settings or files; 3 not to be trusted;
    4 internal error.
    """
    with errors_as_lines():
        from reports.findings_file import check_findings_name
        from reports.gate import judge, untrusted_report
        from reports.gate_outputs import GateOutputs, write_outputs
        from reports.gate_terminal import gate_lines
        from reports.policy import read_policy
        from reports.waivers import read_waivers

        limits, waived = read_policy(policy), read_waivers(waivers)
        for path in findings or ():
            check_findings_name(path)
        _check_baseline(run, baseline, new_only)
        outputs = GateOutputs(summary, junit, sarif, tuple(findings or ()), model_card, show_prompts)
        try:
            checked, before = _load(run), _load(baseline) if baseline else None
            report = judge(checked, limits, waived, before, new_only=new_only, today=_today())
        except RunIncompleteError as error:
            write_outputs(outputs, untrusted_report(str(error), limits), None)
            raise
        write_outputs(outputs, report, checked)
        typer.echo("\n".join(gate_lines(report, show_prompts)))
        raise typer.Exit(0 if exit_zero and report.verdict.outcome == "fail" else report.verdict.exit_code)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="Run directory of the older audit.")],
    new: Annotated[Path, typer.Argument(help="Run directory of the newer audit.")],
    show_prompts: Annotated[bool, typer.Option(help=_SHOW_HELP)] = False,
) -> None:
    """Compare the findings of two audits of the same prompts: new, worse, better, unchanged, fixed.

    `engram gate NEW --baseline OLD --new-only` decides.

    Reads two finished audits. Writes nothing.

    Example: engram diff runs/checkpoint-1000 runs/checkpoint-2000

    Exit codes: 0 whatever changed; 2 the audits cannot be compared, or a mistake in options; 3 one of them is not to
    be trusted; 4 internal error.
    """
    with errors_as_lines():
        from reports.diff import check_comparable, compare, comparison_notes
        from reports.gate_terminal import diff_lines

        before, after = _load(old), _load(new)
        check_comparable(before.record, after.record)
        notes = comparison_notes(before.record, after.record)
        typer.echo("\n".join(diff_lines(compare(before.findings, after.findings), notes, show_prompts)))


@waivers_app.command("check")
def check_waivers(
    file: Annotated[Path, typer.Argument(help=_WAIVERS_HELP)],
    run: Annotated[Path | None, typer.Option(help="Run directory to hold the waivers against.")] = None,
) -> None:
    """Say of every waiver whether it holds: 0 if none has expired, 1 if one has, 2 if the file cannot be read.

    Reads FILE and, if given, a finished audit, which tells the waivers without a finding. Writes nothing.

    Example: engram waivers check waivers.toml --run runs/mine

    Exit codes: 0 none has expired; 1 one has; 2 a mistake in options or in the file; 3 the audit is not to be trusted;
    4 internal error.
    """
    with errors_as_lines():
        from reports.gate_terminal import waiver_lines
        from reports.waivers import read_waivers

        waivers, today = read_waivers(file), _today()
        typer.echo("\n".join(waiver_lines(waivers, _load(run).findings if run else None, today)))
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
        from reports.waivers import add_waiver, new_waiver

        waiver = new_waiver(fingerprint, reason, owner, expires.date(), _today())
        if run and fingerprint not in {finding.fingerprint for finding in _load(run).findings}:
            raise SettingsError(f"{run} has no finding {fingerprint}; `engram gate {run}` names those it has")
        with writing(file):
            add_waiver(file, waiver)
        typer.echo(f"{fingerprint} is waived by {owner} until {waiver.expires}")


def _today() -> date:
    """The day in UTC, so that a waiver expires on every machine at once."""
    return datetime.now(UTC).date()


def _load(directory: Path) -> CheckedRun:
    from reports.check import load_checked

    return load_checked(directory)


def _check_baseline(run: Path, baseline: Path | None, new_only: bool) -> None:
    if new_only and baseline is None:
        raise SettingsError("--new-only needs --baseline: the run directory of the older audit")
    if baseline is not None and baseline.resolve() == run.resolve():
        raise SettingsError(f"--baseline {baseline} is the run itself, in which nothing can be new; give an older one")
