"""Paths that the tables of a run hold: each is relative to the run directory and leads to a place inside it."""

from pathlib import Path, PurePosixPath, PureWindowsPath

from flashbulb.reports.tables.files import RunIncompleteError


def path_in_run(directory: Path, table: str, name: str) -> Path:
    """Return the path of the file or folder that a table of the run in `directory` calls `name`.

    Args:
        table: name of the table; the message names it.

    Raises:
        RunIncompleteError: the path leads out of the run, also by a link, or is none at all.
    """
    path = directory / name
    if not (_is_relative(name) and _is_inside(path, directory)):
        raise RunIncompleteError(
            f"{directory / table}: the path {name!r} leads out of the run directory; run the audit again"
        )
    return path


def _is_relative(name: str) -> bool:
    """Return whether a path goes down only, on every system: a run may be read on another one than it was made on."""
    return all(not path.anchor and ".." not in path.parts for path in (PurePosixPath(name), PureWindowsPath(name)))


def _is_inside(path: Path, directory: Path) -> bool:
    try:
        return path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError, ValueError):  # a name too long, a circle of links, a null character
        return False
