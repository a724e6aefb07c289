"""Tie weights, captions, pictures and truth of a planted model together by their hashes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from audit.planted.presets import Preset

_LIBRARIES = ("torch", "diffusers", "transformers", "scikit-image", "pillow", "numpy")


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` but the manifest and training leftovers, by relative path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
    relative = [p.relative_to(folder) for p in files]
    return {
        path.as_posix(): hashlib.sha256((folder / path).read_bytes()).hexdigest()
        for path in relative
        if not path.parts[0].startswith(".")
    }


def write_manifest(folder: Path, preset: Preset) -> None:
    """Write manifest.json: the preset, the versions it was trained with, and the hash of every file."""
    manifest = {
        "preset": asdict(preset),
        "versions": {name: version(name) for name in _LIBRARIES},
        "sha256": file_hashes(folder),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def changed_files(folder: Path) -> list[str]:
    """Files that differ from the manifest, are missing or were added."""
    stated = json.loads((folder / "manifest.json").read_text())["sha256"]
    present = file_hashes(folder)
    return sorted(name for name in {*stated, *present} if stated.get(name) != present.get(name))
