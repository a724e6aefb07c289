"""Write the formats that were asked for, all from one report, so that they state one verdict."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reports.check import CheckedRun
from reports.files import RunFileError
from reports.findings_file import write_findings
from reports.gate import GateReport
from reports.gate_markdown import append_step_summary, write_summary
from reports.junit import write_junit
from reports.model_card import write_model_card
from reports.sarif import write_sarif


class OutputError(RunFileError):
    """A place that cannot be written to; a usage error."""


@dataclass(frozen=True, slots=True)
class GateOutputs:
    """Where each format goes, None where it is not wanted; whole prompts only if `show_prompts`."""

    summary: Path | None
    junit: Path | None
    sarif: Path | None
    findings: tuple[Path, ...]
    model_card: Path | None
    show_prompts: bool


@contextmanager
def writing(place: Path | str) -> Iterator[None]:
    """Answer what the system says of `place` in one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror or error}") from error


def write_outputs(outputs: GateOutputs, report: GateReport, run: CheckedRun | None) -> None:
    """Write `outputs`, and the step summary of GitHub Actions where there is one.

    Args:
        run: None where it could not be read; a model card of before is then removed, since it says otherwise.
    """
    show = outputs.show_prompts
    with writing("the step summary"):
        append_step_summary(report, show)
    if outputs.summary:
        with writing(outputs.summary):
            write_summary(outputs.summary, report, show)
    if outputs.junit:
        with writing(outputs.junit):
            write_junit(outputs.junit, report, show)
    if outputs.sarif:
        with writing(outputs.sarif):
            write_sarif(outputs.sarif, report, Path.cwd(), show)
    for path in outputs.findings:
        with writing(path):
            write_findings(path, report, show)
    if outputs.model_card:
        with writing(outputs.model_card):
            if run is None:
                outputs.model_card.unlink(missing_ok=True)
            else:
                write_model_card(outputs.model_card, report, run)
