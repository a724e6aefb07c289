"""Record the hashes of a planted model's files: weights, captions, images and truth."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from flashbulb.audit.planted.presets import Preset
from flashbulb.reports.tables.files import write_json


class PlantedModelError(ValueError):
    """A planted model cannot be trained; the message says why and what to do."""


_LIBRARIES = ("torch", "diffusers", "transformers", "scikit-image", "pillow", "numpy")


def file_hashes(folder: Path) -> dict[str, str]:
    """Hash every file in `folder` with SHA-256, except the manifest and checkpoints; return hashes by relative path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
    relative = [p.relative_to(folder) for p in files]
    return {
        path.as_posix(): hashlib.sha256((folder / path).read_bytes()).hexdigest()
        for path in relative
        if not path.parts[0].startswith(".")
    }


def write_manifest(folder: Path, preset: Preset) -> None:
    """Write manifest.json: the preset, the library versions of its training, and the hash of every file."""
    manifest = {
        "preset": asdict(preset),
        "versions": {name: version(name) for name in _LIBRARIES},
        "sha256": file_hashes(folder),
    }
    write_json(folder / "manifest.json", manifest)
