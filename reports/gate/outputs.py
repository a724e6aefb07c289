"""Write a judgement in every requested format, from one report, so that all outputs state the same verdict."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flashbulb.reports.gate.check import CheckedRun
from flashbulb.reports.gate.findings_file import write_findings
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.gate.junit import write_junit
from flashbulb.reports.gate.markdown import write_summary
from flashbulb.reports.gate.model_card import write_model_card
from flashbulb.reports.gate.sarif import write_sarif
from flashbulb.reports.tables.files import (
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

STEP_SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
"""Environment variable in which GitHub Actions names the file that collects a step's Markdown summary."""
_AUDIT_SUFFIXES = (".parquet", ".safetensors", ".png", ".html")


class OutputError(RunFileError):
    """An output that cannot be written (a usage error)."""


@dataclass(frozen=True, slots=True)
class GateOutputs:
    """The path of each requested format, None for the others.

    Args:
        findings: each ends in `.jsonl` or `.parquet`.
        show_prompts: write the text of prompts; otherwise a prompt is named by its file and row.
    """

    summary: Path | None
    junit: Path | None
    sarif: Path | None
    findings: tuple[Path, ...]
    model_card: Path | None
    show_prompts: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every requested file."""
        single = (self.summary, self.junit, self.sarif, self.model_card)
        return (*(path for path in single if path is not None), *self.findings)


def audit_outputs(directory: Path, show_prompts: bool) -> GateOutputs:
    """List the outputs that an audit writes into its run directory. Its summary.md is a page of its own."""
    findings = (directory / FINDINGS_LINES_FILE, directory / FINDINGS_TABLE_FILE)
    return GateOutputs(
        summary=None,
        junit=directory / JUNIT_FILE,
        sarif=directory / SARIF_FILE,
        findings=findings,
        model_card=None,
        show_prompts=show_prompts,
    )


def check_output_paths(outputs: GateOutputs, inputs: Sequence[Path], runs: Sequence[Path]) -> None:
    """Refuse an output that would replace another output, an input or a result of an audit.

    Args:
        inputs: files that the command reads, such as the policy.
        runs: run directories that are judged or compared with.

    Raises:
        OutputError: naming the first such output.
    """
    taken = {_replaced_path(path): "is read" for path in inputs}
    for path in outputs.paths:
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} cannot be written: it is not a file")
        replaced = _replaced_path(path)
        if replaced in taken:
            raise OutputError(f"{path} cannot be written: it {taken[replaced]}; give each output a file of its own")
        if any(_belongs_to_audit(replaced, run.resolve()) for run in runs):
            raise OutputError(
                f"{path} cannot be written: it belongs to the audit; give a path outside the run directory"
            )
        taken[replaced] = "is another output"


def _replaced_path(path: Path) -> Path:
    """Return the file that writing to `path` replaces: links in its folder are followed, its own name is not."""
    return path.parent.resolve() / path.name


def _belongs_to_audit(path: Path, run: Path) -> bool:
    """Return whether `path` is one of the audit's own files. Those that state its verdict may be replaced."""
    if path in {(run / name).resolve() for name in (RUN_FILE, *TABLE_FILES)}:
        return True
    may_replace = path.parent == run and path.name in VERDICT_FILES and path.name != REPORT_FILE
    if not path.is_relative_to(run) or may_replace:
        return False
    return path.parent != run or path.name == RUN_FILE or path.suffix in _AUDIT_SUFFIXES


def write_outputs(outputs: GateOutputs, report: GateReport, run: CheckedRun | None) -> None:
    """Write every requested output.

    Args:
        run: the judged audit; None if it could not be read. An older model card is then deleted, because it would
            contradict the verdict.

    Raises:
        OutputError: an output cannot be written.
    """
    show = outputs.show_prompts
    writers: list[tuple[Path | None, Callable[[Path], None]]] = [
        (outputs.summary, lambda path: write_summary(path, report, show)),
        (outputs.junit, lambda path: write_junit(path, report, show)),
        (outputs.sarif, lambda path: write_sarif(path, report, Path.cwd(), show)),
        *((path, lambda path: write_findings(path, report, show)) for path in outputs.findings),
        (outputs.model_card, lambda path: _write_or_delete_model_card(path, report, run)),
    ]
    for path, write in writers:
        if path is not None:
            with output_errors(path):
                write(path)


def _write_or_delete_model_card(path: Path, report: GateReport, run: CheckedRun | None) -> None:
    if run is None:
        path.unlink(missing_ok=True)
    else:
        write_model_card(path, report, run)


def append_step_summary(page: str) -> None:
    """Append a Markdown page to the summary of the current GitHub Actions step. Do nothing outside of one.

    Raises:
        OutputError: the summary cannot be written.
    """
    if path := os.environ.get(STEP_SUMMARY_VARIABLE):
        with output_errors("the step summary"), Path(path).open("a", encoding="utf-8") as file:
            file.write(f"\n{page}")


@contextmanager
def output_errors(output: Path | str) -> Iterator[None]:
    """Turn an `OSError` of the block into an `OutputError` of one line that names `output`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror or error}") from error
