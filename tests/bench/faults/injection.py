"""Runs inside a process of the product: count what it writes below its folder, and fail or end it at one of these.

What libraries write past Python (Parquet tables, safetensors) raises no audit event; a limit on the size of files and
kills at a moment in time reach it.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

WRITING = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
FULL = "full"
"""Nothing more can be written: no file opened, no folder made, no byte added."""
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


class Plan(NamedTuple):
    """What happens to a process, and where.

    Args:
        folder: becomes the working directory; only what is written below it counts.
        fault: the name of an errno, of one of `SIGNALS`, or `FULL`; None to count only.
        at: which event, from 0; -1 for none.
        lasting: whether every later event fails as well.
        limit: bytes that a file may have from the start, as `ulimit -f` does; -1 for no limit.
        log: file that lists the events.
        umask: of the process; -1 for the one it has.
        memory: bytes that the process may take beside those it has at its start; -1 for no limit.
    """

    folder: str
    fault: str | None = None
    at: int = -1
    lasting: bool = False
    limit: int = -1
    log: str | None = None
    umask: int = -1
    memory: int = -1


def main() -> None:
    """Run the command line of `sys.argv`, whose first word is a plan as JSON."""
    from flashbulb.audit.__main__ import main as flashbulb

    plan = Plan(*json.loads(sys.argv.pop(1)))
    os.chdir(plan.folder)
    if plan.umask >= 0:
        os.umask(plan.umask)
    if plan.memory >= 0:
        limit_memory(plan.memory)
    if plan.limit >= 0:
        limit_files(plan.limit)
    watch(plan)
    flashbulb()


def limit_files(n_bytes: int) -> None:
    """Let no file grow beyond a size; what was larger stays."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))


def limit_memory(n_bytes: int) -> None:
    """Let the process take no more than so many bytes beside those it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    most = pages * resource.getpagesize() + n_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def watch(plan: Plan) -> None:
    """Count events from now on, and let the plan's happen at its place."""
    folder, n_seen = os.path.join(os.path.realpath(plan.folder), ""), 0  # noqa: PTH118 (a Path drops the last slash)
    log = None if plan.log is None else os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def seen(event: str, path: Any) -> None:
        nonlocal n_seen
        place, n_seen = n_seen, n_seen + 1
        if log is not None:
            os.write(log, f"{event} {path}\n".encode())
        if plan.fault is not None and (place == plan.at or (plan.lasting and place > plan.at >= 0)):
            happen(plan.fault, event, str(path))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if (event == "open" and is_written(*args[1:3])) or event in WRITING:
            path = args[1] if event in ("os.rename", "os.link", "os.symlink") else args[0]
            if isinstance(path, str | bytes) and is_below(os.fsdecode(path), folder):
                seen(event, os.fsdecode(path))

    os.fsync = _counted(os.fsync, seen)
    sys.addaudithook(hook)


def _counted(fsync: Callable[[Any], None], seen: Callable[[str, Any], None]) -> Callable[[Any], None]:
    def counted(file: Any) -> None:
        seen("fsync", file)
        fsync(file)

    return counted


def is_written(mode: str | None, flags: int) -> bool:
    """Whether a file is opened to be written; the builtin states a mode, `os.open` flags alone."""
    return bool(set(mode or "") & set("wxa+")) if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))


def is_below(path: str, folder: str) -> bool:
    """Whether a path lies in the folder; relative ones do, because it is the working directory."""
    return not path.startswith("/") or path.startswith(folder)


def happen(fault: str, event: str, path: str) -> None:
    """Be killed, interrupted, or fail as the operating system would."""
    if fault in SIGNALS:
        os.kill(os.getpid(), SIGNALS[fault])
    elif fault == FULL:
        limit_files(0)
        if event in ("open", "os.mkdir", "fsync") and not Path(path).is_file():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    else:
        number = getattr(errno, fault)
        raise OSError(number, os.strerror(number), path)


if __name__ == "__main__":
    main()
