"""Write a judgement in every requested format, from one report, so that all outputs state the same verdict."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from flashbulb.reports.gate.formats import OUTPUT_FORMATS, Judgement, OutputFormat
from flashbulb.reports.tables.files import (
    ANNEX_FILES,
    REMOVAL_FILE,
    REPORT_FILE,
    RUN_FILE,
    TABLE_FILES,
    VERDICT_FILES,
    RunFileError,
)

STEP_SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
"""Environment variable in which GitHub Actions names the file that collects a step's Markdown summary."""
_AUDIT_SUFFIXES = (".parquet", ".safetensors", ".png", ".html", ".sig")


class OutputError(RunFileError):
    """An output that cannot be written (a usage error)."""


class Output(NamedTuple):
    """A file to write, and its format."""

    path: Path
    format: OutputFormat


def audit_outputs(directory: Path) -> list[Output]:
    """List the outputs that an audit writes into its run directory. Its summary.md is a page of its own."""
    return [Output(directory / name, form) for form in OUTPUT_FORMATS for name in form.audit_files]


def requested_outputs(options: Mapping[str, object]) -> list[Output]:
    """List the outputs that the options of a command name.

    Raises:
        RunFileError: a path has an ending that its format has not.
    """
    outputs: list[Output] = []
    for form in OUTPUT_FORMATS:
        given = options.get(form.name) or ()
        outputs += [Output(Path(str(path)), form) for path in (given if isinstance(given, list | tuple) else [given])]
    for output in outputs:
        output.format.check_name(output.path)
    return outputs


def check_output_paths(outputs: Sequence[Output], inputs: Sequence[Path], runs: Sequence[Path]) -> None:
    """Refuse an output that would replace another output, an input or a result of an audit.

    Args:
        inputs: files that the command reads, such as the policy.
        runs: run directories that are judged or compared with.

    Raises:
        OutputError: naming the first such output.
    """
    taken = {_replaced_path(path): "is read" for path in inputs}
    for path, _ in outputs:
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
    may_replace = path.parent == run and path.name in {*VERDICT_FILES, REMOVAL_FILE} - {REPORT_FILE}
    if not path.is_relative_to(run) or may_replace:
        return False
    return path.parent != run or path.name in (RUN_FILE, *ANNEX_FILES) or path.suffix in _AUDIT_SUFFIXES


def write_outputs(outputs: Sequence[Output], judgement: Judgement) -> None:
    """Write every output.

    Raises:
        OutputError: an output cannot be written.
    """
    for path, form in outputs:
        with output_errors(path):
            form.write(path, judgement)


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
