"""The summary of a step of GitHub Actions, where there is one."""

import os
from pathlib import Path

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"


def append_step_summary(page: str) -> None:
    """Append a Markdown page to the summary of the step that runs."""
    if path := os.environ.get(STEP_SUMMARY):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"\n{page}")
