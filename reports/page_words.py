"""Strangers' words on the page: prompts and names of files, made visible, cut, or replaced where they are redacted."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from reports.findings import place_of
from reports.text import visible_text

LONGEST_PROMPT = 400  # characters in a card
LONGEST_CELL = 120  # characters in the table of all prompts


@dataclass(frozen=True, slots=True)
class Words:
    """What the page calls prompts and pictures.

    Args:
        redact: name prompts by file and row, pictures by the hash of their name, and link to no file.
        page: the file the page is written to, which links are relative to.
    """

    redact: bool
    page: Path

    def of_prompt(self, prompt: str | None, place: str, limit: int = LONGEST_PROMPT) -> str:
        """A prompt cut to `limit` characters, or where it stands."""
        if prompt is None:
            return "found without a prompt"
        if self.redact:
            return place
        return visible_text(prompt, limit).strip() or "(blank)"

    def of_row(self, row: Mapping[str, Any], limit: int) -> str:
        """The prompt of a row of the scores."""
        return self.of_prompt(row["prompt"], place_of(row["source_file"], row["source_row"]), limit)

    def of_image(self, path: str) -> str:
        """The name of a training image, which is often its caption."""
        name = PurePath(path).name
        return f"image {hashlib.sha256(name.encode()).hexdigest()[:8]}" if self.redact else visible_text(name, 80)

    def of_file(self, path: object) -> str:
        """A path of the settings without the folders, which are nobody's business."""
        text = str(path)
        return visible_text(f"…/{PurePath(text).name}" if PurePath(text).is_absolute() else text, 200)

    def link_to(self, path: Path, directory: Path) -> str | None:
        """Relative address of a file of the run; None where there may be none or it lies elsewhere."""
        if self.redact or not path.is_relative_to(directory):
            return None
        return quote(Path(os.path.relpath(path, self.page.parent)).as_posix())
