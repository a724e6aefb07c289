"""State what an index on disk holds; a folder without this statement is no index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from flashbulb.audit.stores.fetching import fetched
from flashbulb.audit.training_images.hashes import HASH_KIND
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from flashbulb.audit.training_images.sources.passed_over import as_documents, from_documents
from flashbulb.reports.tables.files import write_json
from flashbulb.reports.tables.stores import StoreError, as_uri
from flashbulb.reports.views.passed_over import PassedOver

INDEX_VERSION = 2
MANIFEST_FILE = "index.json"


class Manifest(NamedTuple):
    """What an index holds.

    Args:
        n_rows: number of views of its images.
        passed_over: what the source holds beside them.
        fingerprint: SHA-256 of the records.
        aspect: width over height of the windows.
        n_bytes: length of the records in bytes.
    """

    n_rows: int
    n_images: int
    passed_over: tuple[PassedOver, ...]
    source: Path
    fingerprint: str
    aspect: float
    n_bytes: int


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, with which a folder becomes an index."""
    stated = {
        "schema_version": INDEX_VERSION,
        "hash_kind": HASH_KIND,
        "count": manifest.n_rows,
        "n_images": manifest.n_images,
        "passed_over": as_documents(manifest.passed_over),
        "source": as_uri(manifest.source),
        "source_fingerprint": manifest.fingerprint,
        "aspect": manifest.aspect,
        "records_bytes": manifest.n_bytes,
    }
    write_json(folder / MANIFEST_FILE, stated)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an index.

    Raises:
        TrainingImagesError: it is damaged, or of another version or hash.
        StoreError: its images lie in an object store that cannot be read.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _check_version(path, int(manifest["schema_version"]), str(manifest["hash_kind"]))
        return Manifest(
            int(manifest["count"]),
            int(manifest["n_images"]),
            from_documents(manifest["passed_over"]),
            Path(fetched(str(manifest["source"]))),
            str(manifest["source_fingerprint"]),
            float(manifest["aspect"]),
            int(manifest["records_bytes"]),
        )
    except (TrainingImagesError, StoreError):
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TrainingImagesError(f"{path} is damaged or not of Flashbulb; build the index again") from error


def _check_version(path: Path, version: int, kind: str) -> None:
    if version > INDEX_VERSION:
        raise TrainingImagesError(f"{path} has schema version {version}, newer than {INDEX_VERSION}; upgrade Flashbulb")
    if version < INDEX_VERSION:
        raise TrainingImagesError(
            f"{path} has schema version {version}, but this Flashbulb reads {INDEX_VERSION}; build the index again"
        )
    if kind != HASH_KIND:
        raise TrainingImagesError(f"{path} holds hashes {kind!r}, this version compares {HASH_KIND!r}; build it again")
