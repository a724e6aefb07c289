"""Finished runs that arguments and options name: load one to judge, refuse a baseline that is the run itself."""

from __future__ import annotations

import os
from filecmp import cmp
from pathlib import Path
from typing import TYPE_CHECKING

from flashbulb.audit.settings import SettingsError
from flashbulb.reports.tables.files import RUN_FILE

if TYPE_CHECKING:
    from flashbulb.reports.checks.run import CheckedRun


def load_run_to_judge(directory: Path) -> CheckedRun:
    """Load and check a finished run. Imports the Parquet reader."""
    from flashbulb.reports.checks.run import load_checked

    return load_checked(directory)


def refuse_same_run(run: Path, baseline: Path | None) -> None:
    """Refuse a baseline that is the run itself, or a copy of it, of which every finding is known.

    Raises:
        SettingsError: it is.
    """
    if baseline is not None and _is_same_run(baseline, run):
        raise SettingsError(
            f"--baseline {baseline} is the run itself, or a copy of it; give the run directory of an older audit"
        )


def _is_same_run(first: Path, second: Path) -> bool:
    """Return whether two paths lead to the same directory, or to equal files run.json, which hold the seals."""
    if first.resolve() == second.resolve():
        return True
    records = first / RUN_FILE, second / RUN_FILE
    return all(map(os.path.isfile, records)) and cmp(*records, shallow=False)
