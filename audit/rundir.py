"""Own a run directory: claim it for one audit, refuse another's, go on with it, and keep its run.json."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.differences import Difference, first_difference
from reports.files import RUN_FILE, SCHEMA_VERSION, withdraw_verdict, write_json

RECORDING, DETECTION, RECOVERY = "recording", "detection", "recovery"
STAGES = frozenset({RECORDING, DETECTION, RECOVERY})
"""Parts of an audit's identity; a directory may name fewer of them than an audit does, see `audit.identity`."""


class RunDirectoryError(ValueError):
    """The run directory cannot be used; the message says why and what to do."""


def fingerprint_of(values: Mapping[str, Any]) -> str:
    """Hash of everything a result depends on, 16 hex digits."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunDirectory:
    """One directory of results; `open` claims it for exactly one set of inputs and settings."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path, self.record = path, record

    @classmethod
    def open(cls, path: Path, identity: Mapping[str, Any], *, force: bool) -> RunDirectory:
        """Create the directory, or go on with it if it holds results of the same identity.

        Args:
            force: start over where the directory holds an audit; what is no audit is never touched.

        Raises:
            RunDirectoryError: not writable, holds something else, or holds an audit of another identity.
        """
        try:
            held = _held_record(path)
            if held is not None and not force:
                _refuse_other_identity(path, held["identity"], identity)
            if held is not None and force:
                _clear(path)
            path.mkdir(parents=True, exist_ok=True)
            run = cls(path, {})
            run.begin(identity, status="running")
        except OSError as error:
            raise _unwritable(path, error.strerror or str(error)) from error
        return run

    @classmethod
    def examine(cls, path: Path, identity: Mapping[str, Any], *, force: bool) -> str | None:
        """What `open` would find, without writing: the status of what is there, None where there is nothing.

        Raises:
            RunDirectoryError: what `open` would raise.
        """
        try:
            held = _held_record(path)
            if held is not None and not force:
                _refuse_other_identity(path, held["identity"], identity)
            above = existing_above(path)
        except OSError as error:
            raise _unwritable(path, error.strerror or str(error)) from error
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise _unwritable(path, "Permission denied" if above.is_dir() else "Not a directory")
        return None if held is None else str(held.get("status"))

    @classmethod
    def existing(cls, path: Path) -> RunDirectory:
        """A directory whose audit was begun, to go on with; nothing is written.

        Raises:
            RunDirectoryError: there is none.
        """
        try:
            held = _held_record(path) if (path / RUN_FILE).is_file() else None
        except OSError as error:
            raise RunDirectoryError(f"{path} cannot be read: {error.strerror or error}") from error
        if held is None or not STAGES.intersection(held["identity"]):
            raise RunDirectoryError(f"{path} holds no audit; begin one with `engram record --out {path}`")
        return cls(path, held)

    def begin(self, identity: Mapping[str, Any], **entries: Any) -> None:
        """Forget what run.json states and every verdict, claim the directory for `identity`, and state `entries`."""
        withdraw_verdict(self.path)
        self.record = {"schema_version": SCHEMA_VERSION, "identity": dict(identity)}
        self.update(**entries)

    def update(self, **entries: Any) -> None:
        """Merge entries into run.json and write it whole."""
        self.record.update(entries)
        write_json(self.path / RUN_FILE, self.record)


def existing_above(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def _unwritable(path: Path, reason: str) -> RunDirectoryError:
    return RunDirectoryError(f"{path} cannot be written: {reason}; choose another --out")


def _held_record(path: Path) -> dict[str, Any] | None:
    """What run.json of the directory states, its identity at least; None where there is nothing yet.

    Whatever does not say that it is ours is refused here, so that `_clear` never meets another's files.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    if not (path / RUN_FILE).is_file():
        raise RunDirectoryError(f"{path} exists and is no run directory of Engram; choose another --out")
    try:
        record: dict[str, Any] = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        version = int(record["schema_version"])
        record["identity"].keys()
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunDirectoryError(
            f"{path / RUN_FILE} is damaged or not Engram's; choose another --out, or remove {path} yourself"
        ) from error
    if version > SCHEMA_VERSION:
        raise RunDirectoryError(
            f"{path} has schema version {version}, newer than {SCHEMA_VERSION}; choose another --out, or upgrade"
        )
    return record


def _clear(path: Path) -> None:
    """Empty a run directory; run.json goes last, so that a kill in between does not leave a stranger's folder."""
    for child in path.iterdir():
        if child.name == RUN_FILE:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    (path / RUN_FILE).unlink()


def _refuse_other_identity(path: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compare what both name; a stage of an audit that one of them does not name is still open."""
    still_open = {stage for stage in STAGES if (stage in held) != (stage in wanted)}
    was, now = (
        stated_leaves({key: value for key, value in one.items() if key not in still_open}) for one in (held, wanted)
    )
    found = first_difference(was, now)
    if found is None and not held.keys() & wanted.keys():
        found = Difference("what it is", None, None, "")
    if found is not None:
        raise RunDirectoryError(
            f"{path} holds another audit: {found.key} was {found.was!r}, now {found.now!r}{found.others}; "
            "choose another --out, or pass --force to start over"
        )


def stated_leaves(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a JSON file states of nested settings, flat: {"settings": {"fpr": 0.01}} becomes {"settings.fpr": 0.01}."""
    return _flat(json.loads(json.dumps(values, default=str)), "")


def _flat(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
