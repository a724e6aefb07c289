"""Own a run directory: claim it, refuse another audit's, remember the state, and write files whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.files import SCHEMA_VERSION

RUN_JSON = "run.json"


class RunDirectoryError(ValueError):
    """The run directory cannot be used; the message says why and what to do."""


def fingerprint_of(values: Mapping[str, Any]) -> str:
    """Hash of everything a result depends on, 16 hex digits."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunDirectory:
    """One audit's directory; `open` claims it for exactly one set of inputs and settings."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path, self.record = path, record

    @classmethod
    def open(cls, path: Path, identity: Mapping[str, Any], *, force: bool) -> RunDirectory:
        """Create the directory, or go on with it if it holds an audit of the same identity.

        Raises:
            RunDirectoryError: not writable, holds something else, or holds an audit of another identity.
        """
        if force and (path / RUN_JSON).is_file():
            shutil.rmtree(path)
        if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not (path / RUN_JSON).is_file())):
            raise RunDirectoryError(f"{path} exists and is no run directory of Engram; choose another --out")
        previous = _read_record(path)
        _refuse_other_identity(path, previous.get("identity"), identity)
        try:
            path.mkdir(parents=True, exist_ok=True)
            record = {"schema_version": SCHEMA_VERSION, "identity": dict(identity)}
            run = cls(path, record)
            run.update(status="running")
        except OSError as error:
            raise RunDirectoryError(f"{path} cannot be written: {error.strerror}; choose another --out") from error
        return run

    def update(self, **entries: Any) -> None:
        """Merge entries into run.json and write it whole."""
        self.record.update(entries)
        write_text(self.path / RUN_JSON, json.dumps(self.record, indent=1, default=str, allow_nan=False) + "\n")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((path / RUN_JSON).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path / RUN_JSON} cannot be read; pass --force to start over") from error
    return record


def _refuse_other_identity(path: Path, held: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> None:
    if held is None:
        return
    expected = json.loads(json.dumps(wanted, default=str))
    different = [key for key in sorted({*held, *expected}) if held.get(key) != expected.get(key)]
    if different:
        key = different[0]
        raise RunDirectoryError(
            f"{path} holds another audit: {key} was {held.get(key)!r}, now {expected.get(key)!r}"
            f"{f' (and {len(different) - 1} more differ)' if len(different) > 1 else ''}; "
            "choose another --out, or pass --force to start over"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
