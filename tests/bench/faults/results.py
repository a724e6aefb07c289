"""What a command left, as far as two runs of it must agree: tables, verdict, counts, images and every other file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from flashbulb.audit.run.directory import flatten_json
from flashbulb.reports.tables.files import METADATA_KEY

TIMES = re.compile(r"(^|\.)(timings|finished|seconds|started|seal)(\.|$)")
"""Entries of JSON files that say when and how long, or hash that."""
TIMED = re.compile(
    rb"\d{4}-\d\d-\d\d(T[\d:+.]+)?|\d+(\.\d+)?\s*(s\b|min\b|seconds|minutes)"
    rb'|<tr><th scope="row">\w+</th><td>[\d.]+</td></tr>|(?m:\| [\d.]+ \|$)|sha256:[0-9a-f]{64}'
)
"""The same in pages and other texts, and in their tables of stages; and the seal, which covers them."""
HOW = re.compile(r"^(settings|options)(\.|$)")
"""Entries of run.json that say with which options."""
PAGES = ("report.html", "summary.md")
"""Files of a run that say it as well."""


@dataclass(frozen=True, slots=True)
class Result:
    """Hashes of what a folder holds, by file; times are left out."""

    files: Mapping[str, str]

    def differences(self, other: Result) -> list[str]:
        """Name the files that only one result has, or whose content differs."""
        names = sorted(self.files.keys() | other.files.keys())
        kinds = {(True, False): "missing", (False, True): "left over", (True, True): "other"}
        return [
            f"{kinds[name in self.files, name in other.files]}: {name}"
            for name in names
            if self.files.get(name) != other.files.get(name)
        ]


def parts_of(folder: Path) -> str:
    """Say how many files lie below a folder that a killed process had not completed; "" if none."""
    n_parts = sum(1 for _ in folder.rglob("*.part"))
    return f", {n_parts} .part left" if n_parts else ""


def read_result(folder: Path, *, knows_how: bool = True) -> Result:
    """Hash every file below a folder, but incomplete ones and the lock, which some processes cannot remove.

    Args:
        knows_how: False leaves out what says by which options it was made.
    """
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink())
    paths = (path for path in files if path.suffix != ".part" and path.name != ".lock")
    told = (path for path in paths if knows_how or path.name not in PAGES)
    left_out = (TIMES,) if knows_how else (TIMES, HOW)
    return Result({path.relative_to(folder).as_posix(): _content_of(path, left_out) for path in told})


def _content_of(path: Path, left_out: Sequence[re.Pattern[str]]) -> str:
    try:
        content = _compared(path, left_out)
    except (OSError, ValueError, SafetensorError) as error:
        content = f"unreadable: {error}".encode()
    return hashlib.sha256(content).hexdigest()


def _compared(path: Path, left_out: Sequence[re.Pattern[str]]) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_without(left_out, json.loads(path.read_text(encoding="utf-8")))).encode()
    if path.suffix == ".safetensors":
        return _tensors(path)
    if path.suffix in (".html", ".md", ".xml", ".sarif", ".jsonl"):
        return TIMED.sub(b"", path.read_bytes())
    return path.read_bytes()


def _without(left_out: Sequence[re.Pattern[str]], content: Any) -> Any:
    if not isinstance(content, Mapping):
        return content
    entries = sorted(flatten_json(content).items())
    return {key: value for key, value in entries if not any(pattern.search(key) for pattern in left_out)}


def _tensors(path: Path) -> bytes:
    with safe_open(path, framework="np") as file:
        stated = (file.metadata() or {}).get(METADATA_KEY, "{}")
        metadata = {key: value for key, value in _without((TIMES,), json.loads(stated)).items() if key != "sha256"}
        tensors = {name: hashlib.sha256(file.get_tensor(name).tobytes()).hexdigest() for name in sorted(file.keys())}
    return json.dumps([metadata, tensors]).encode()
