"""The `engram` command itself: its logging, and how errors become one line and an exit code. Heavy imports wait."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from audit.config import SettingsError
from reports.files import RunFileError, RunIncompleteError
from reports.text import visible_text

EXIT_USAGE, EXIT_UNTRUSTED, EXIT_INTERNAL, EXIT_INTERRUPTED = 2, 3, 4, 130

_UsageError: Any = typer.BadParameter.__base__  # typer carries its own click, whose names are private
_OPTION_OF_FIELD = {
    "n_seeds": "seeds",
    "n_samples": "samples",
    "strategies": "strategy",
    "n_starts": "starts",
    "learning_rate": "rate",
}
_LONGEST_LINE = 1000  # characters of an error message, which may quote a stranger's file

app = typer.Typer(
    name="engram",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Find out which training images a text-to-image diffusion model gives back.",
)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"engram: {visible_text(' '.join(message.split()), _LONGEST_LINE)}", err=True)
    raise typer.Exit(code)


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Answer a user's mistake with a line and 2, an untrustworthy audit with 3, our own bug with a traceback and 4."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on where it stopped", EXIT_INTERRUPTED)
    except RunIncompleteError as error:
        _fail(str(error), EXIT_UNTRUSTED)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        option = _OPTION_OF_FIELD.get(field, field).replace("_", "-")
        _fail(f"--{option}: {first['msg']}, got {first['input']!r}", EXIT_USAGE)
    except (SettingsError, RunFileError) as error:
        _fail(str(error), EXIT_USAGE)
    except typer.Exit:
        raise
    except Exception as error:  # the outermost boundary: every error becomes an exit code
        _fail_by_kind(error)


def _fail_by_kind(error: Exception) -> NoReturn:
    """Errors of the parts that need torch, which this file does not import until it runs them."""
    with suppress(ImportError):  # where torch is not installed, it is an error of none of these parts
        from audit.labels import LabelsError
        from audit.stages import UNTRUSTED_ERRORS, USAGE_ERRORS

        if isinstance(error, (LabelsError, *USAGE_ERRORS)):
            _fail(str(error), EXIT_USAGE)
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
def _root(verbose: Annotated[bool, typer.Option("--verbose", help="Log every detail.")] = False) -> None:
    _set_up_logging(verbose)


def main() -> None:
    """Run the command line; an option that does not exist or cannot be read is one line, too."""
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        code = EXIT_USAGE
        if message := error.format_message():  # without arguments it is empty: the help was shown
            typer.echo(f"engram: {visible_text(' '.join(message.split()), _LONGEST_LINE)}", err=True)
    sys.exit(code)
