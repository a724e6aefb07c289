"""Entry point of the `flashbulb` command and of `python -m flashbulb`."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

NOT_INSTALLED = "flashbulb: not installed; run `pip install -e '.[audit]'` in the source folder"


def main() -> None:
    """Run the command line.

    Nothing but the verdict of a gate exits with 1, which is Python's own code for an error that nobody caught. An
    interrupt during the imports exits with 130 and no traceback, like a later one.
    """
    try:
        version("flashbulb")
        from flashbulb.audit import cli

        cli.main()
    except PackageNotFoundError:
        _exit(NOT_INSTALLED, 2)
    except KeyboardInterrupt:
        _exit("flashbulb: interrupted", 130)
    except MemoryError:
        _exit("flashbulb: not enough memory to start", 2)
    except Exception:  # the outermost boundary: see above
        _exit(traceback.format_exc(), 4)


def _exit(message: str, code: int) -> NoReturn:
    with suppress(OSError):  # the exit code tells what happened
        print(message, file=sys.stderr)  # noqa: T201 (the command line may not be imported yet)
    raise SystemExit(code) from None


if __name__ == "__main__":
    main()
