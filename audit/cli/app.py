"""The `engram` command itself: its logging, and how errors become one line and an exit code. Heavy imports wait."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from audit.cli.command import NAME, CommandLine, Root, say_error
from audit.config import SettingsError
from reports.files import RunFileError, RunIncompleteError

EXIT_UNTRUSTED, EXIT_INTERNAL, EXIT_INTERRUPTED = 3, 4, 130

app = CommandLine(name=NAME, cls=Root, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)


def _fail(message: str, code: int) -> NoReturn:
    say_error(message)
    raise typer.Exit(code)


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Answer a user's mistake with a line and 2, an untrustworthy audit with 3, our own bug with a traceback and 4.

    A mistake goes on as typer's own usage error: `Root` knows which option, variable or key of a file it is about.
    """
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on where it stopped", EXIT_INTERRUPTED)
    except RunIncompleteError as error:
        _fail(str(error), EXIT_UNTRUSTED)
    except (ValidationError, SettingsError, RunFileError) as error:
        raise typer.BadParameter(str(error)) from error
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:  # the outermost boundary: every error becomes an exit code
        _fail_by_kind(error)


def _fail_by_kind(error: Exception) -> NoReturn:
    """Errors of the parts that need torch, which this file does not import until it runs them."""
    from audit.labels import LabelsError

    if isinstance(error, LabelsError):
        raise typer.BadParameter(str(error)) from error
    from audit.stages import UNTRUSTED_ERRORS, USAGE_ERRORS

    if isinstance(error, USAGE_ERRORS):
        raise typer.BadParameter(str(error)) from error
    if isinstance(error, UNTRUSTED_ERRORS):
        _fail(f"the audit cannot be trusted: {error}", EXIT_UNTRUSTED)
    traceback.print_exception(error)
    _fail("internal error; this is a bug in engram, please report it with the lines above", EXIT_INTERNAL)


def _set_up_logging(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr, force=True
    )
    for package in ("audit", "hooks", "reports"):
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@app.callback()
def _root(
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every detail.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="File of settings (TOML); by default engram.toml in this directory, if there.")
    ] = None,
) -> None:
    """Find out which training images a text-to-image diffusion model gives back.

    Options can also be given by environment variables (ENGRAM_SEEDS for --seeds of any command, ENGRAM_AUDIT_SEEDS for
    that of one) and in engram.toml: at its top for all commands, in a table [audit] for one.
    What is typed wins over the environment, the environment over the file, the file over the default.

    Example: engram audit --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine
    Then: engram gate runs/mine

    Exit codes: 0 done, or passed (gate); 1 the model leaks (gate); 2 a mistake in options, settings or files; 3 not to
    be trusted; 4 internal error; 130 interrupted.
    """
    _set_up_logging(verbose)


def main() -> None:
    """Run the command line."""
    app()
