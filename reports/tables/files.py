"""Name the files of a run directory, and write or link a file atomically: complete or not at all."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 7

PART_SUFFIX = ".part"
"""Ending of a file that is being written."""

METADATA_KEY = "flashbulb"
"""Key of what PNG and safetensors files record about themselves, as JSON."""

LOCK_FILE = ".lock"
"""File of a directory that a process has locked while it writes there; it is no part of a run."""

RUN_FILE = "run.json"
BASELINE_FILE = "baseline.safetensors"
SCORES_FILE = "scores.parquet"
SPIKES_FILE = "spikes.parquet"
RECOVERIES_FILE = "recoveries.parquet"
MEMORIES_FILE = "memories.parquet"
NEURON_GROUPS_FILE = "neuron_groups.parquet"
REFERENCE_SCORES_FILE = "reference_scores.parquet"
SITE_PROFILES_FILE = "site_profiles.parquet"
TEXT_NULL_FILE = "text_null.parquet"
TABLE_FILES = (
    SCORES_FILE,
    SPIKES_FILE,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    MEMORIES_FILE,
    REFERENCE_SCORES_FILE,
    SITE_PROFILES_FILE,
    TEXT_NULL_FILE,
)
"""Tables whose SHA-256 a finished run.json records."""
PROPENSITY_FILE = "propensity.parquet"
"""A table that only an audit with `--propensity` has."""
CANARIES_FILE, GUESSES_FILE, CANARIES_FOLDER = "canaries.parquet", "canary_guesses.json", "canaries"
"""Of an audit with `--canaries`: the table, the guesses, written before coins are read, and the folder of images."""
DETECTION_TABLES = (SCORES_FILE, SPIKES_FILE, REFERENCE_SCORES_FILE, TEXT_NULL_FILE)
"""Tables that detection writes; recovery rewrites the scores."""
SUMMARY_FILE = "summary.md"
REPORT_FILE = "report.html"
FINDINGS_LINES_FILE = "findings.jsonl"
FINDINGS_TABLE_FILE = "findings.parquet"
JUNIT_FILE = "junit.xml"
SARIF_FILE = "results.sarif"
VERDICT_FILES = (REPORT_FILE, SUMMARY_FILE, FINDINGS_LINES_FILE, FINDINGS_TABLE_FILE, JUNIT_FILE, SARIF_FILE)
"""Files that state the verdict; none of them exists while the verdict is open."""
REMOVAL_FILE = "to_remove.csv"
"""The training images that came back. It states no verdict, but goes and comes with the files that do."""
ANNEX_FILES = ("evidence.html", "evidence.md")
"""The evidence annex, which only `flashbulb report --evidence` writes: the page, and the same in Markdown."""
IMAGES_DIRECTORY = "images"
RECOVERY_DIRECTORY = "recovery"
MATCHES_DIRECTORY = "matches"
FORMER_FOLDER = ".former"
"""Folder of a run directory with links to its former results while a command replaces them."""
DISCOVERY_DIRECTORY = "discovery"
EVIDENCE_FILE = "evidence.png"
HISTOGRAM_FILE = "scores.png"
CURVE_FILE = "discovery.png"


class RunFileError(ValueError):
    """A run directory that is missing, was not written by flashbulb, or has another schema version (a usage error)."""


class RunIncompleteError(RunFileError):
    """A run directory that is unfinished or damaged; nothing in it can be trusted."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a new `.part` path to write to; flush it to the disk and rename it to `path` if the block succeeds.

    No two writers share a part, and one that fails deletes its own.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        yield part
        _flush_to_disk(part)
        os.replace(part, path)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno) if error.errno else str(error), str(path)) from error
    finally:
        with suppress(OSError):  # a disk that has become read-only keeps it
            part.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_whole(source: Path, target: Path) -> None:
    """Link a file that is never written in place, whole or not at all; copy it where links are refused, as on FAT."""
    with atomic_write(target) as part:
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)


def link_first(source: Path, target: Path) -> bool:
    """Give a file a second name unless that exists; return whether it was given.

    Of several processes one succeeds, with a whole file. Without links they lock the folder; where that is refused as
    well, and they run at the same moment, the last one's file stays.
    """
    try:
        os.link(source, target)
        return True
    except FileExistsError:
        return False
    except OSError:
        with _locked(target.parent):
            if target.exists():
                return False
            link_whole(source, target)
            return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let no other process that asks for the same lock into the block; it ends with its process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as ASCII JSON, atomically.

    Raises:
        ValueError: a number is not finite.
    """
    write_text(path, json.dumps(content, indent=1, default=str, allow_nan=False) + "\n")


def withdraw_verdict(directory: Path) -> None:
    """Delete the files that state a verdict, because it is open again."""
    for name in (*VERDICT_FILES, REMOVAL_FILE, *ANNEX_FILES):
        (directory / name).unlink(missing_ok=True)


def check_version(path: Path, version: int, command: str) -> None:
    """Refuse a file of another schema version.

    Args:
        command: what writes the file, such as "audit"; the message asks to run it again.

    Raises:
        RunFileError: the version is newer or older than `SCHEMA_VERSION`.
    """
    if version > SCHEMA_VERSION:
        raise RunFileError(
            f"{path} has schema version {version}, this flashbulb reads up to {SCHEMA_VERSION}; upgrade flashbulb"
        )
    if version < SCHEMA_VERSION:
        raise RunFileError(
            f"{path} has schema version {version}, this flashbulb reads {SCHEMA_VERSION}; run the {command} again"
        )
