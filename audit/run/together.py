"""Write several files together: where a process is killed while it writes them, none of them is kept.

What is made in one batch rounds alike only if the batch is made again as a whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from flashbulb.reports.tables.files import PART_SUFFIX, write_text

_SUFFIX = ".together"


@contextmanager
def together(paths: Sequence[Path]) -> Iterator[None]:
    """Write `paths` in the block; until it ends a list beside the first of them says which."""
    log = paths[0].with_name(f"{paths[0].name}{_SUFFIX}")
    log.parent.mkdir(parents=True, exist_ok=True)
    write_text(log, json.dumps([os.path.relpath(path, log.parent) for path in paths]))
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the next run does it
            _undo(log)
        raise
    log.unlink()


def undo_cut_off(folder: Path) -> None:
    """Delete what a killed process did not write to the end, anywhere below `folder`: parts, and files together."""
    for log in sorted(folder.rglob(f"*{_SUFFIX}")):
        _undo(log)
    for part in sorted(folder.rglob(f"*{PART_SUFFIX}")):
        part.unlink(missing_ok=True)


def _undo(log: Path) -> None:
    for name in json.loads(log.read_text(encoding="utf-8")):
        (log.parent / name).unlink(missing_ok=True)
    log.unlink()
