"""How the page names prompts, images and files. Their text is untrusted: it is made visible, cut, or redacted."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import quote

from flashbulb.reports.tables.schema import TableRow
from flashbulb.reports.tables.stores import is_uri
from flashbulb.reports.views.text import format_location, visible_text

LONGEST_PROMPT = 400  # characters in a card
LONGEST_CELL = 120  # characters in the table of all prompts


@dataclass(frozen=True, slots=True)
class Labels:
    """The names of prompts, images and files on one page.

    Args:
        redact: name prompts by file and row and images by a hash of their name, and link to no file.
        page: the file that the page is written to. Links are relative to its folder.
    """

    redact: bool
    page: Path

    def prompt(self, text: str | None, location: str, limit: int = LONGEST_PROMPT) -> str:
        """Return the text of a prompt, cut to `limit` characters; its location if prompts are redacted."""
        if text is None:
            return "found without a prompt"
        if self.redact:
            return location
        return visible_text(text, limit).strip() or "(blank)"

    def scored_prompt(self, row: TableRow, limit: int) -> str:
        """Return the label of the prompt in a row of scores.parquet."""
        return self.prompt(row["prompt"], format_location(row["source_file"], row["source_row"]), limit)

    def image(self, path: str) -> str:
        """Return the file name of a training image, which is often its caption; a hash of it if redacted."""
        name = PurePath(path).name
        return f"image {hashlib.sha256(name.encode()).hexdigest()[:8]}" if self.redact else visible_text(name, 80)

    def setting(self, value: object) -> str:
        """Return the value of a setting. Absolute paths lose their folders, which may name people or projects.

        The name of a model joins its pipeline and what is added to it with " + ".
        """
        parts = [
            f"…/{PurePath(part).name}" if PurePath(part).is_absolute() or is_uri(part) else part
            for part in str(value).split(" + ")
        ]
        return visible_text(" + ".join(parts), 200)

    def link_to(self, path: Path, directory: Path) -> str | None:
        """Return the relative URL of a file; None if links are redacted or it lies outside the run `directory`."""
        if self.redact or not path.is_relative_to(directory):
            return None
        return quote(Path(os.path.relpath(path, self.page.parent)).as_posix())
