"""The `flashbulb` command: logging, and the mapping from errors to one line and an exit code.

Heavy libraries are imported only by the commands that need them.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from flashbulb import __version__
from flashbulb.audit.cli.shell.command import EXIT_USAGE, NAME, CommandLine, Root, print_error
from flashbulb.audit.cli.shell.help import HELP_ALL
from flashbulb.audit.cli.shell.output import print_text
from flashbulb.audit.cli.shell.signals import interrupt_code, terminated_as_interrupted, was_interrupted
from flashbulb.audit.run.quiet import quieten_libraries
from flashbulb.audit.run.shortage import describe_shortage
from flashbulb.audit.settings import SettingsError
from flashbulb.reports.tables.files import RunFileError, RunIncompleteError
from flashbulb.reports.tables.stores import with_uris

EXIT_UNTRUSTED, EXIT_INTERNAL = 3, 4

app = CommandLine(
    name=NAME,
    cls=Root,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help", HELP_ALL]},
)

EXTRA_BY_LIBRARY = {
    **dict.fromkeys(
        ("torch", "diffusers", "transformers", "nnsight", "pandas", "safetensors", "scipy", "sklearn"), "audit"
    ),
    "faiss": "faiss",
    "skimage": "planted",
    "cryptography": "sign",
}
"""The extra that installs each library which `pip install flashbulb` leaves out."""
_INTERRUPTED = "interrupted; run the same command again to resume"


def _fail(message: str, code: int) -> NoReturn:
    print_error(message)
    raise typer.Exit(code)


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Turn every error into one line and an exit code: 2 usage error, 3 untrusted audit, 4 bug (with a traceback).

    Usage errors are raised again as typer's own, because `Root` names the option, variable or key that caused them.
    """
    try:
        yield
    except KeyboardInterrupt:
        _fail(_INTERRUPTED, interrupt_code())
    except typer.Exit:
        raise
    except Exception as error:  # the outermost boundary: every error becomes an exit code
        if was_interrupted():
            _fail(_INTERRUPTED, interrupt_code())
        if isinstance(error, typer.BadParameter):
            raise
        if isinstance(error, RunIncompleteError):
            _fail(str(error), EXIT_UNTRUSTED)
        if isinstance(error, ValidationError | SettingsError | RunFileError):
            raise typer.BadParameter(str(error)) from error
        _fail_by_kind(error)


def _fail_by_kind(error: Exception) -> NoReturn:
    """Exit with the code of an error from the parts that need torch, whose exception types are imported only here."""
    if isinstance(error, ModuleNotFoundError) and (library := (error.name or "").partition(".")[0]) in EXTRA_BY_LIBRARY:
        extra = EXTRA_BY_LIBRARY[library]
        _fail(f"this command needs {library}, which is not installed; pip install 'flashbulb[{extra}]'", EXIT_USAGE)
    with suppress(ImportError):  # without torch, none of these parts can have raised the error
        from flashbulb.audit.stages.claim import UNTRUSTED_ERRORS, USAGE_ERRORS

        if isinstance(error, USAGE_ERRORS):
            raise typer.BadParameter(str(error)) from error
        if isinstance(error, UNTRUSTED_ERRORS):
            _fail(f"the audit cannot be trusted: {error}", EXIT_UNTRUSTED)
    if (shortage := describe_shortage(error)) is not None:
        _fail(f"{shortage}; run the same command again to resume", EXIT_USAGE)
    traceback.print_exception(error)
    _fail("internal error; this is a bug in flashbulb, please report it with the traceback above", EXIT_INTERNAL)


class _Formatter(logging.Formatter):
    """Calls files of object stores by their URIs."""

    def format(self, record: logging.LogRecord) -> str:
        return with_uris(super().format(record))


def _set_up_logging(verbose: bool) -> None:
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, stream=sys.stderr, force=True)
    for handler in logging.root.handlers:
        handler.setFormatter(_Formatter("%(message)s"))
    logging.getLogger("flashbulb").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("PIL").setLevel(logging.INFO)  # its debug messages repeat the metadata of untrusted images
    quieten_libraries("debug" if verbose else "error")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        with errors_as_lines():
            print_text(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    verbose: Annotated[bool, typer.Option("--verbose", help="Log in detail, including debug messages.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings file (TOML); by default flashbulb.toml in the current directory, if present."),
    ] = None,
    _is_version_asked: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
            expose_value=False,
        ),
    ] = False,
) -> None:
    """Find training images that a text-to-image diffusion model memorized.

    `flashbulb demo` audits a small model that comes with Flashbulb. Options can also be set in flashbulb.toml and in
    the environment (docs/command-line.md).

    Example: flashbulb audit --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine
    Then: flashbulb gate runs/mine

    Exit codes: 0 success, or the gate passed; 1 the gate failed: the model leaks; 2 error in options, settings or
    files; 3 the audit cannot be trusted; 4 internal error; 130 interrupted, 143 by SIGTERM, 129 by SIGHUP.
    """
    _set_up_logging(verbose)


def main() -> None:
    """Run the command line."""
    with terminated_as_interrupted():
        try:
            app()
        except KeyboardInterrupt:  # while the commands were put together
            print_error("interrupted")
            sys.exit(interrupt_code())
