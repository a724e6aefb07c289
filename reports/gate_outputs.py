"""Write the formats that were asked for, all from one report, so that they state one verdict."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reports.check import CheckedRun
from reports.files import (
    FINDINGS_LINES_FILE,
    FINDINGS_TABLE_FILE,
    JUNIT_FILE,
    REPORT_FILE,
    RUN_FILE,
    SARIF_FILE,
    TABLE_FILES,
    VERDICT_FILES,
    RunFileError,
)
from reports.findings_file import write_findings
from reports.gate import GateReport
from reports.gate_markdown import write_summary
from reports.junit import write_junit
from reports.model_card import write_model_card
from reports.sarif import write_sarif

_SUFFIXES_OF_AUDIT = (".parquet", ".safetensors", ".png", ".html")


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

    @property
    def places(self) -> tuple[Path, ...]:
        """Every file that is asked for."""
        others = (self.summary, self.junit, self.sarif, self.model_card)
        return (*(path for path in others if path is not None), *self.findings)


def outputs_beside(directory: Path, show_prompts: bool) -> GateOutputs:
    """The formats that stand in a run directory; its summary.md is the audit's own page."""
    findings = (directory / FINDINGS_LINES_FILE, directory / FINDINGS_TABLE_FILE)
    return GateOutputs(None, directory / JUNIT_FILE, directory / SARIF_FILE, findings, None, show_prompts)


def check_places(outputs: GateOutputs, given: Sequence[Path], runs: Sequence[Path]) -> None:
    """Refuse an output in the place of another one, of a file that was given, or of what a run's audit found.

    Args:
        given: files that are read, such as the policy.
        runs: directories that are judged or compared with.
    """
    taken = {_place(path): "is read" for path in given}
    for path in outputs.places:
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} cannot be written: it is no file")
        place = _place(path)
        if place in taken:
            raise OutputError(f"{path} cannot be written: it {taken[place]}; give each output a file of its own")
        if any(_is_of_audit(place, run.resolve()) for run in runs):
            raise OutputError(
                f"{path} cannot be written: it is the audit's own; give a place outside its run directory"
            )
        taken[place] = "is another output"


def _place(path: Path) -> Path:
    """Where a file is replaced: its folder followed through links, its own name not."""
    return path.parent.resolve() / path.name


def _is_of_audit(place: Path, run: Path) -> bool:
    if place in {(run / name).resolve() for name in (RUN_FILE, *TABLE_FILES)}:
        return True
    may_replace = place.parent == run and place.name in VERDICT_FILES and place.name != REPORT_FILE
    if not place.is_relative_to(run) or may_replace:
        return False
    return place.parent != run or place.name == RUN_FILE or place.suffix in _SUFFIXES_OF_AUDIT


@contextmanager
def writing(place: Path | str) -> Iterator[None]:
    """Answer what the system says of `place` in one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror or error}") from error


def write_outputs(outputs: GateOutputs, report: GateReport, run: CheckedRun | None) -> None:
    """Write `outputs`.

    Args:
        run: None where it could not be read; a model card of before is then removed, since it says otherwise.
    """
    show = outputs.show_prompts
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
