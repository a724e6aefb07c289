"""Keep the batch size that was chosen for a recording, so that what continues or completes it rounds alike."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flashbulb.audit.run.directory import RunDirectory, RunDirectoryError, fingerprint_of, flatten_json
from flashbulb.audit.stages.kept.resume import restore_settings
from flashbulb.audit.stores.fetching import fetch
from flashbulb.audit.stores.sending import send
from flashbulb.reports.tables.files import RUN_FILE, link_first, write_json
from flashbulb.reports.tables.record_files import read_content
from flashbulb.reports.tables.stores import in_store

_AGREED_FILE = "batch_size.json"


def kept_batch_size(out: Path, identity: Mapping[str, Any]) -> int | None:
    """Return the batch size of a recording that has begun in `out`; None if none has, or one of another identity."""
    try:
        record = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
        wanted = flatten_json(identity)
        is_same = any(flatten_json(held) == wanted for held in record["identity"].values())
        return int(record["settings"]["batch_size"]) if is_same else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # whoever opens the directory says what is wrong with it


def agreed_batch_size(folder: Path, identity: Mapping[str, Any], own: int) -> int:
    """Return the batch size that all parts in `folder` use: the choice of the part that came first.

    Of parts that begin at the same moment and share nothing but a store, each can come first; `merge` refuses them.

    Raises:
        RunDirectoryError: the parts are of another recording.
    """
    agreed, mine = folder / _AGREED_FILE, folder / f"{_AGREED_FILE}.{secrets.token_hex(8)}"
    fetch(agreed)
    write_json(mine, {"recording": fingerprint_of(identity), "batch_size": own})
    try:
        if link_first(mine, agreed) and in_store(agreed):
            send(agreed)
    finally:
        mine.unlink()
    content = json.loads(agreed.read_text(encoding="utf-8"))
    if content["recording"] != fingerprint_of(identity):
        raise RunDirectoryError(f"{folder} holds parts of another recording; delete it, or choose another --out")
    return int(content["batch_size"])


def refuse_other_batch_sizes(folders: list[Path]) -> None:
    """Refuse parts that were recorded with different batch sizes, which round differently.

    Raises:
        RunDirectoryError: names two of them.
    """
    sizes = {folder: _batch_size_of(folder) for folder in folders}
    first = folders[0]
    other = next((folder for folder, size in sizes.items() if size != sizes[first]), None)
    if other is not None:
        raise RunDirectoryError(
            f"{first} was recorded with --batch-size {sizes[first]}, {other} with {sizes[other]}, which rounds "
            f"differently; record one of them again, with --force and --batch-size {sizes[first]}"
        )


def _batch_size_of(folder: Path) -> Any:
    return restore_settings(RunDirectory(folder, dict(read_content(folder, "recording"))), {}).batch_size
