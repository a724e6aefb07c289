"""Count and name what a source of training images holds beside the images that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath

from flashbulb.reports.views.passed_over import TEXT_SUFFIXES, PassedOver
from flashbulb.reports.views.text import visible_text

_MOST_REASONS, _LONGEST_NAME, _LONGEST_SUFFIX = 16, 200, 12
_OTHERS = "other kinds"


@dataclass(slots=True)
class Tally:
    """Collect what is passed over, by reason, in bounded memory."""

    _counts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count one file or member; its name is untrusted text."""
        if reason not in self._counts and len(self._counts) >= _MOST_REASONS:
            reason = _OTHERS
        n, first = self._counts.get(reason, (0, name))
        self._counts[reason] = (n + 1, first)

    def result(self) -> tuple[PassedOver, ...]:
        """Return what was counted: images and archives first, then text files, each by number."""
        rows = [
            PassedOver(reason, n, visible_text(first, _LONGEST_NAME)) for reason, (n, first) in self._counts.items()
        ]
        return tuple(sorted(rows, key=lambda row: (row.reason in TEXT_SUFFIXES, -row.n, row.reason)))


def as_documents(rows: tuple[PassedOver, ...]) -> list[dict[str, str | int]]:
    """Return the rows as JSON objects."""
    return [asdict(row) for row in rows]


def from_documents(documents: list[Mapping[str, str | int]]) -> tuple[PassedOver, ...]:
    """Read what `as_documents` returned.

    Raises:
        LookupError, TypeError, ValueError: the objects are not of that kind.
    """
    return tuple(
        PassedOver(visible_text(str(d["reason"]), 80), int(d["n"]), visible_text(str(d["first"]), _LONGEST_NAME))
        for d in documents
    )


def kind_of_name(name: str) -> str:
    """Return the reason to pass over a file that is no image: its suffix, if it has a plain one."""
    suffix = PurePosixPath(name).suffix.lower()
    if not 1 < len(suffix) <= _LONGEST_SUFFIX or not suffix[1:].isalnum() or not suffix.isascii():
        return "no image, without suffix"
    return suffix
