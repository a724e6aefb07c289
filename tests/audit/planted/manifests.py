"""Compare the files of a planted model with its manifest."""

import json
from pathlib import Path

from flashbulb.audit.planted.manifest import file_hashes


def changed_files(folder: Path) -> list[str]:
    """List the files that differ from the manifest, are missing or were added."""
    expected = json.loads((folder / "manifest.json").read_text())["sha256"]
    actual = file_hashes(folder)
    return sorted(name for name in {*expected, *actual} if expected.get(name) != actual.get(name))
