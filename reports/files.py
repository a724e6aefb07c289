"""Names of the run directory's files, and the one way to write a file: whole or not at all."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 3

RUN_FILE = "run.json"
BASELINE_FILE = "baseline.safetensors"
SCORES_FILE = "scores.parquet"
SPIKES_FILE = "spikes.parquet"
RECOVERIES_FILE = "recoveries.parquet"
NEURON_GROUPS_FILE = "neuron_groups.parquet"
REFERENCE_SCORES_FILE = "reference_scores.parquet"
SITE_PROFILES_FILE = "site_profiles.parquet"
TEXT_NULL_FILE = "text_null.parquet"
TABLE_FILES = (
    SCORES_FILE,
    SPIKES_FILE,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    REFERENCE_SCORES_FILE,
    SITE_PROFILES_FILE,
    TEXT_NULL_FILE,
)
"""Tables that run.json vouches for."""
DETECTION_TABLES = (SCORES_FILE, SPIKES_FILE, REFERENCE_SCORES_FILE, TEXT_NULL_FILE)
"""Those that are there before recovery; it writes the scores once more."""
SUMMARY_FILE = "summary.md"
REPORT_FILE = "report.html"
FINDINGS_LINES_FILE = "findings.jsonl"
FINDINGS_TABLE_FILE = "findings.parquet"
JUNIT_FILE = "junit.xml"
SARIF_FILE = "results.sarif"
VERDICT_FILES = (REPORT_FILE, SUMMARY_FILE, FINDINGS_LINES_FILE, FINDINGS_TABLE_FILE, JUNIT_FILE, SARIF_FILE)
"""What an audit writes of its verdict; while it is open, none of them stands there."""
IMAGES_DIRECTORY = "images"
RECOVERY_DIRECTORY = "recovery"
DISCOVERY_DIRECTORY = "discovery"
EVIDENCE_FILE = "evidence.png"
HISTOGRAM_FILE = "scores.png"
CURVE_FILE = "discovery.png"


class RunFileError(ValueError):
    """A run directory that cannot be read: not there, not ours, or of a newer version (a usage error)."""


class RunIncompleteError(RunFileError):
    """A run directory whose audit did not finish or whose files are damaged: nothing in it may be trusted."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a `.part` path to write to; it becomes `path` when the block ends well and is gone otherwise."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` in ASCII, whole or not at all; numbers that are not finite are refused."""
    write_text(path, json.dumps(content, indent=1, default=str, allow_nan=False) + "\n")


def withdraw_verdict(directory: Path) -> None:
    """Remove what a run directory says of a verdict that is open again."""
    for name in VERDICT_FILES:
        (directory / name).unlink(missing_ok=True)
