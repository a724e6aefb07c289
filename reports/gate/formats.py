"""The formats in which a judgement is written: each is a file of this package and a row of `OUTPUT_FORMATS`.

A row makes the format an option of `flashbulb gate` and, if it names files, a part of every audit. Writers are imported
when they write, because the command line lists the formats without their libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashbulb.reports.tables.files import (
    FINDINGS_LINES_FILE,
    FINDINGS_TABLE_FILE,
    JUNIT_FILE,
    REMOVAL_FILE,
    SARIF_FILE,
)

if TYPE_CHECKING:
    from flashbulb.reports.checks.run import CheckedRun
    from flashbulb.reports.gate.judgement import GateReport


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a format writes.

    Args:
        run: the judged audit; None if it could not be read.
        show_prompts: write the text of prompts; otherwise a prompt is named by its file and row.
    """

    report: GateReport
    run: CheckedRun | None
    show_prompts: bool


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One format.

    Args:
        name: of the option, with underscores.
        description: help of the option.
        write: writes a judgement to a path.
        audit_files: names of the files that every audit writes in this format.
        is_repeatable: the option may be given more than once.
        check_name: refuses a path whose ending the format has not.
    """

    name: str
    description: str
    write: Callable[[Path, Judgement], None]
    audit_files: tuple[str, ...] = ()
    is_repeatable: bool = False
    check_name: Callable[[Path], None] = lambda _path: None


def _summary(path: Path, judgement: Judgement) -> None:
    from flashbulb.reports.gate.markdown import write_summary

    write_summary(path, judgement.report, judgement.show_prompts)


def _junit(path: Path, judgement: Judgement) -> None:
    from flashbulb.reports.gate.junit import write_junit

    write_junit(path, judgement.report, judgement.show_prompts)


def _sarif(path: Path, judgement: Judgement) -> None:
    from flashbulb.reports.gate.sarif import write_sarif

    write_sarif(path, judgement.report, Path.cwd(), judgement.show_prompts)


def _findings(path: Path, judgement: Judgement) -> None:
    from flashbulb.reports.gate.findings_file import write_findings

    write_findings(path, judgement.report, judgement.show_prompts)


def _check_findings(path: Path) -> None:
    from flashbulb.reports.gate.findings_file import check_findings_name

    check_findings_name(path)


def _removal(path: Path, judgement: Judgement) -> None:
    """Write the list; without a run, delete an older one, because an empty list would look like a clean run."""
    from flashbulb.reports.leaks.removal import write_removal

    if judgement.run is None:
        path.unlink(missing_ok=True)
    else:
        write_removal(path, judgement.report.leaks)


def _model_card(path: Path, judgement: Judgement) -> None:
    """Write the section; without a run, delete an older one, because it would contradict the verdict."""
    from flashbulb.reports.gate.model_card import write_model_card

    if judgement.run is None:
        path.unlink(missing_ok=True)
    else:
        write_model_card(path, judgement.report, judgement.run)


OUTPUT_FORMATS = (
    OutputFormat("summary", "File to write a Markdown summary to.", _summary),
    OutputFormat("junit", "File to write JUnit XML to.", _junit, (JUNIT_FILE,)),
    OutputFormat("sarif", "File to write SARIF 2.1.0 to.", _sarif, (SARIF_FILE,)),
    OutputFormat(
        "findings",
        "File to write all findings to: .jsonl, .parquet or .csv (repeat for several).",
        _findings,
        (FINDINGS_LINES_FILE, FINDINGS_TABLE_FILE),
        is_repeatable=True,
        check_name=_check_findings,
    ),
    OutputFormat(
        "to_remove",
        "File to write the training images that came back to (CSV).",
        _removal,
        (REMOVAL_FILE,),
    ),
    OutputFormat("model_card", "File to write a section for the model card to.", _model_card),
)
