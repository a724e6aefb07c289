"""Tell cells that are surely no captions: numbers, file names and addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KINDS = {
    "number": re.compile(r"\s*[-+]?\d+(?:\.\d+)?\s*"),
    "file_name": re.compile(r"\s*\S*[^\s.]\.[A-Za-z][A-Za-z0-9]{1,4}(?:#\d+)?\s*"),
    "url": re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://\S+\s*"),
}


def kind_of(cells: Iterable[str]) -> str | None:
    """Return what all the cells are: "number", "file_name" or "url"; None if they may be captions."""
    kinds = list(_KINDS)
    for cell in cells:
        kinds = [kind for kind in kinds if _KINDS[kind].fullmatch(cell)]
        if not kinds:
            return None
    return kinds[-1] if kinds else None
