"""Own a run directory: hold it for one process and one audit, refuse it to others, resume it, keep its run.json."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from flashbulb.audit.run.former import FormerResults
from flashbulb.audit.run.lock import PRIVATE_FOLDER, check_free, hold_directory
from flashbulb.reports.tables.differences import first_difference
from flashbulb.reports.tables.files import (
    IMAGES_DIRECTORY,
    LOCK_FILE,
    PART_SUFFIX,
    RUN_FILE,
    SCHEMA_VERSION,
    withdraw_verdict,
    write_json,
)
from flashbulb.reports.tables.run_record import FINISHED

RECORDING, DETECTION, RECOVERY = "recording", "detection", "recovery"
STAGES = frozenset({RECORDING, DETECTION, RECOVERY})
"""Parts of an audit's identity. A directory may name fewer of them (`audit/stages/kept/identity.py`)."""

_OTHER_OUT = "choose another --out"
_START_OVER = f"{_OTHER_OUT}, or pass --force to start over"


class RunDirectoryError(ValueError):
    """The run directory cannot be used; the message gives the reason and what to do."""


def fingerprint_of(values: Mapping[str, Any]) -> str:
    """Hash everything a result depends on, to 16 hex digits."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunDirectory:
    """One directory of results; `open` claims it for exactly one set of inputs and settings."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path, self.record = path, record

    @classmethod
    @contextmanager
    def open(
        cls, path: Path, identity: Mapping[str, Any], *, force: bool, former: FormerResults | None = None
    ) -> Iterator[RunDirectory]:
        """Create the directory, or resume it if it holds results of the same identity; hold it while the block runs.

        A new directory is private (mode 0700). What is written into it gives no rights that the directory does not.

        Args:
            force: start over where the directory holds an audit. Any other folder is never touched.
            former: what to bring back if the block is refused, of a directory that is finished; a new one is nobody's.

        Raises:
            RunDirectoryError: not writable, holds something else, or holds an audit of another identity.
            DirectoryHeldError: another process writes into it.
        """
        with ExitStack() as stack:
            try:
                _read_accepted(path, identity, force)  # before anything is written
                path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
                stack.enter_context(hold_directory(path))
                record = _read_accepted(path, identity, force)
                if record is not None and force:
                    _clear(path)
                    record = None
                if former is not None:
                    stack.enter_context(former.unclaimed(path) if record is None else cls(path, record).keeping(former))
                run = cls(path, {})
                run.begin(identity, status="running")
            except OSError as error:
                raise _unwritable(path, error.strerror or str(error)) from error
            yield run

    @classmethod
    def examine(cls, path: Path, identity: Mapping[str, Any], *, force: bool) -> str | None:
        """Return the status of what `open` would find, None if there is nothing; write nothing.

        Raises:
            RunDirectoryError, DirectoryHeldError: what `open` would raise.
        """
        try:
            record = _read_accepted(path, identity, force)
            folder = nearest_existing(path)
        except OSError as error:
            raise _unwritable(path, error.strerror or str(error)) from error
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise _unwritable(path, "Permission denied" if folder.is_dir() else "Not a directory")
        check_free(path)
        return None if record is None else str(record.get("status"))

    @classmethod
    @contextmanager
    def reopen(cls, path: Path) -> Iterator[RunDirectory]:
        """Hold the directory of an audit that has begun, to resume it; write nothing into it yet.

        Raises:
            RunDirectoryError: it holds no audit, or is not writable.
            DirectoryHeldError: another process writes into it.
        """
        with ExitStack() as stack:
            try:
                _read_begun(path)  # before anything is written
                stack.enter_context(hold_directory(path))
                run = cls(path, _read_begun(path))
            except OSError as error:
                raise RunDirectoryError(f"{path} cannot be written: {error.strerror or error}") from error
            yield run

    def begin(self, identity: Mapping[str, Any], **entries: Any) -> None:
        """Claim the directory for `identity`: replace run.json by `entries` and withdraw every verdict."""
        withdraw_verdict(self.path)
        self.record = {"schema_version": SCHEMA_VERSION, "identity": dict(identity)}
        self.update(**entries)

    @contextmanager
    def keeping(self, former: FormerResults) -> Iterator[None]:
        """Bring back what the directory holds if the block is refused, unless it is unfinished."""
        with former.kept(self.path) if self.record.get("status") in FINISHED else nullcontext():
            yield

    def update(self, **entries: Any) -> None:
        """Merge entries into run.json and write all of it."""
        self.record.update(entries)
        write_json(self.path / RUN_FILE, self.record)


def nearest_existing(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def flatten_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested values as a JSON file holds them: {"settings": {"fpr": 0.01}} becomes {"settings.fpr": 0.01}."""
    return _flatten(json.loads(json.dumps(values, default=str)), "")


def _flatten(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _unwritable(path: Path, reason: str) -> RunDirectoryError:
    return RunDirectoryError(f"{path} cannot be written: {reason}; {_OTHER_OUT}")


def _read_accepted(path: Path, identity: Mapping[str, Any], force: bool) -> dict[str, Any] | None:
    """Read run.json; without `force`, refuse an older version and another identity."""
    record = _read_record(path, f"{_OTHER_OUT}, or ")
    if record is not None and not force:
        if (path / IMAGES_DIRECTORY).is_symlink():
            raise RunDirectoryError(
                f"{path / IMAGES_DIRECTORY} is a link, and no reader follows a link out of a run; move all of {path}"
            )
        _refuse_older(path, record, _START_OVER)
        _refuse_other_identity(path, record["identity"], identity)
    return record


def _read_begun(path: Path) -> dict[str, Any]:
    """Read run.json of an audit that has begun; refuse an older version and any other directory."""
    record = _read_record(path, "") if (path / RUN_FILE).is_file() else None
    if record is not None:
        _refuse_older(path, record, "record it again")
    if record is None or not STAGES.intersection(record["identity"]):
        raise RunDirectoryError(f"{path} holds no audit; begin one with `flashbulb record --out {path}`")
    return record


def _is_leftover(name: str) -> bool:
    """Return whether a process that was killed before its first run.json leaves a file of this name."""
    return name == LOCK_FILE or (name.startswith(f"{RUN_FILE}.") and name.endswith(PART_SUFFIX))


def _read_record(path: Path, instead: str) -> dict[str, Any] | None:
    """Read run.json, which holds at least a version and an identity; None if the directory is empty or missing.

    A folder whose run.json is not ours is refused here, so `_clear` never touches files of others.

    Args:
        instead: the way out that a command with --out has, before the one that all commands have.
    """
    if not path.exists() or (path.is_dir() and all(_is_leftover(child.name) for child in path.iterdir())):
        return None
    if not (path / RUN_FILE).is_file():
        raise RunDirectoryError(f"{path} exists and is not a Flashbulb run directory; {_OTHER_OUT}")
    try:
        record: dict[str, Any] = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        version = int(record["schema_version"])
        record["identity"].keys()
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RunDirectoryError(
            f"{path / RUN_FILE} is damaged or was not written by Flashbulb; {instead}remove {path} yourself"
        ) from error
    if version > SCHEMA_VERSION:
        raise RunDirectoryError(
            f"{path} has schema version {version}, newer than {SCHEMA_VERSION}; {instead}upgrade flashbulb"
        )
    return record


def _clear(path: Path) -> None:
    """Empty a run directory; run.json goes last, so after a kill the folder is still recognized as ours."""
    for child in path.iterdir():
        if child.name in (RUN_FILE, LOCK_FILE):
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    (path / RUN_FILE).unlink()


def _refuse_older(path: Path, record: Mapping[str, Any], way_out: str) -> None:
    version = int(record["schema_version"])
    if version < SCHEMA_VERSION:
        raise RunDirectoryError(
            f"{path} was written by an older release (schema version {version}, this one reads {SCHEMA_VERSION}); "
            f"{way_out}"
        )


def _refuse_other_identity(path: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse `wanted` if it differs from `held`; a stage that only one of the two names is still open."""
    still_open = {stage for stage in STAGES if (stage in held) != (stage in wanted)}
    before, after = (
        flatten_json({key: value for key, value in identity.items() if key not in still_open})
        for identity in (held, wanted)
    )
    difference = first_difference(before, after)
    if difference is not None:
        raise RunDirectoryError(
            f"{path} holds another audit: {difference.key} was {difference.old!r}, now {difference.new!r}"
            f"{difference.others}; {_START_OVER}"
        )
    if not held.keys() & wanted.keys():
        raise RunDirectoryError(f"{path} holds results of another command; {_START_OVER}")
