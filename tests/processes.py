"""Processes of the product, forked from one that has imported it: importing torch and diffusers takes seconds."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from typing import IO, Any, NamedTuple

COMMAND = "from flashbulb.audit.__main__ import main; main()"

_context = get_context("forkserver")
_context.set_forkserver_preload(
    [
        *("flashbulb.audit.cli", "flashbulb.audit.stages.audit", "flashbulb.reports.page.report"),
        "tests.interrupts_held",
    ]
)


class Ended(NamedTuple):
    """Exit code and output of a process that ended; `out` is empty if its standard output went elsewhere."""

    code: int
    out: str
    err: str


class Forked:
    """A running process."""

    def __init__(self, process: BaseProcess, out: IO[bytes], err: IO[bytes]) -> None:
        self.process, self._streams = process, (out, err)

    def send_signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def wait(self) -> Ended:
        """Wait for the end of the process; its exit code is -9 if it was killed."""
        self.process.join(timeout=120)
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read().decode())
            stream.close()
        assert self.process.exitcode is not None, f"still running; it wrote {texts}"
        return Ended(self.process.exitcode, *texts)


def fork_python(
    code: str,
    *arguments: object,
    out: IO[bytes] | int | None = None,
    err: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Forked:
    """Run `code` as a script with these arguments.

    Args:
        out: file or descriptor for standard output; by default it is kept for `wait`.
        err: descriptor for standard error; by default it is kept as well.
        environment: variables beside those of this process.
    """
    kept, kept_err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (`wait` closes them)
    given = out if isinstance(out, int) else (out or kept).fileno()
    given_err = kept_err.fileno() if err is None else err
    variables = {**os.environ, **(environment or {})}
    words = [str(argument) for argument in arguments]
    process = _context.Process(target=_run, args=(code, words, _Descriptor(given), _Descriptor(given_err), variables))
    process.start()
    return Forked(process, kept, kept_err)


def fork_flashbulb(*arguments: object, **options: Any) -> Forked:
    """Run the command line; `options` are those of `fork_python`."""
    return fork_python(COMMAND, *arguments, **options)


class _Descriptor:
    """A descriptor that becomes, in the process, its own number of the same file."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _detach, (DupFd(self.number),)


def _detach(duplicate: Any) -> int:
    return duplicate.detach()


def _run(code: str, arguments: list[str], out: int, err: int, environment: dict[str, str]) -> None:
    """Become a process like one that was started anew: with its own streams, environment, arguments and Ctrl-C."""
    for number, target in ((out, 1), (err, 2)):
        os.dup2(number, target)
        os.close(number)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["flashbulb", *arguments]
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        exec(code, {"__name__": "__main__"})
    except KeyboardInterrupt:  # which nobody caught ends a process by its signal
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
