"""Entry point of the `flashbulb` command and of `python -m flashbulb`."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
import traceback
from contextlib import suppress
from io import TextIOWrapper
from typing import NoReturn

NOT_INSTALLED = "flashbulb: not installed; run `pip install -e '.[audit]'` in the source folder"


def main() -> NoReturn:
    """Run the command line.

    Nothing but the verdict of a gate exits with 1, which is Python's own code for an error that nobody caught. An
    interrupt during the imports exits with 130 and no traceback, like a later one.
    """
    codes: list[int] = []
    _survive_exits_of_libraries(codes)
    codes.append(_run())
    raise SystemExit(codes[0])


def _run() -> int:
    """Run the command line and return its exit code."""
    gc.set_threshold(700, 10, 200)  # a full collection visits a million objects that libraries leave, for nothing
    _let_waiting_threads_sleep()
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # its own pool keeps what it freed, 30 MB of a gate
    for stream in (sys.stdout, sys.stderr):  # a terminal of Latin-1 shows other characters by their codes
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from flashbulb.audit import cli

        cli.main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    except ModuleNotFoundError:  # what every command needs: what only some need is refused by the command line
        return _failed(NOT_INSTALLED, 2)
    except KeyboardInterrupt:
        return _failed("flashbulb: interrupted", 130)
    except MemoryError:
        return _failed("flashbulb: not enough memory to start", 2)
    except Exception:  # the outermost boundary: see above
        return _failed(traceback.format_exc(), 4)
    return 0


def _let_waiting_threads_sleep() -> None:
    """Let threads of torch that wait for each other sleep after some 10 µs, unless they are told how to wait.

    Beside other work they would spin for many times what they compute. GNU's OpenMP takes the number of its spins; to
    sleep at once, as the policy alone would have it, costs a third of the speed where nothing else runs.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _failed(message: str, code: int) -> int:
    with suppress(OSError):  # the exit code tells what happened
        print(message, file=sys.stderr)  # noqa: T201 (the command line may not be imported yet)
    return code


def _survive_exits_of_libraries(codes: list[int]) -> None:
    """Exit with 2 where a library ends the process, as OpenBLAS does with 1 if it gets no memory.

    The C library is asked to leave with 2 on every `exit`. A command that ends by itself leaves before that, from the
    hook of Python that runs last.

    Args:
        codes: holds the exit code of the command once it has one.
    """

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # closed, or nothing takes it
                stream.flush()
        os._exit(codes[0] if codes else 4)

    with suppress(AttributeError, OSError):  # another C library
        library = ctypes.CDLL(None)
        library.__cxa_atexit(library._exit, ctypes.c_void_p(2), None)
        atexit.register(leave)


if __name__ == "__main__":
    main()
