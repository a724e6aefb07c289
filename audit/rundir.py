"""Own a run directory: claim it for one audit, refuse another's, and keep its run.json."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.files import RUN_FILE, SCHEMA_VERSION, withdraw_verdict, write_text


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

        Args:
            force: start over where the directory holds an audit; what is no audit is never touched.

        Raises:
            RunDirectoryError: not writable, holds something else, or holds an audit of another identity.
        """
        try:
            held = _held_identity(path)
            if held is not None and not force:
                _refuse_other_identity(path, held, identity)
            if held is not None and force:
                _clear(path)
            path.mkdir(parents=True, exist_ok=True)
            run = cls(path, {"schema_version": SCHEMA_VERSION, "identity": dict(identity)})
            run.update(status="running")
            withdraw_verdict(path)
        except OSError as error:
            raise RunDirectoryError(
                f"{path} cannot be written: {error.strerror or error}; choose another --out"
            ) from error
        return run

    def update(self, **entries: Any) -> None:
        """Merge entries into run.json and write it whole."""
        self.record.update(entries)
        write_text(self.path / RUN_FILE, json.dumps(self.record, indent=1, default=str, allow_nan=False) + "\n")


def _held_identity(path: Path) -> Mapping[str, Any] | None:
    """Identity of the audit that the directory holds, None where there is nothing yet.

    Whatever does not say that it is an audit is refused here, so that `_clear` never meets another's files.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    if not (path / RUN_FILE).is_file():
        raise RunDirectoryError(f"{path} exists and is no run directory of Engram; choose another --out")
    try:
        record = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        held: Mapping[str, Any] = record["identity"]
        version = int(record["schema_version"])
        held.keys()
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunDirectoryError(
            f"{path / RUN_FILE} is damaged or not Engram's; choose another --out, or remove {path} yourself"
        ) from error
    if version > SCHEMA_VERSION:
        raise RunDirectoryError(
            f"{path} has schema version {version}, newer than {SCHEMA_VERSION}; choose another --out, or upgrade"
        )
    return held


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
    was, now = leaves(held), leaves(json.loads(json.dumps(wanted, default=str)))
    different = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
    if different:
        key = different[0]
        raise RunDirectoryError(
            f"{path} holds another audit: {key} was {was.get(key)!r}, now {now.get(key)!r}"
            f"{f' (and {len(different) - 1} more differ)' if len(different) > 1 else ''}; "
            "choose another --out, or pass --force to start over"
        )


def leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings: {"settings": {"fpr": 0.01}} becomes {"settings.fpr": 0.01}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
