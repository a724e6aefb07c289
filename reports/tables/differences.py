"""Find the first difference between two mappings, for messages that show both values."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """The first key whose values differ, with both values.

    `others` is a clause for a message that counts the other differing keys; it is empty if there are none.
    """

    key: str
    old: Any
    new: Any
    others: str


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference | None:
    """Return the first difference in the order of the keys, None if there is none; a missing key equals None."""
    different = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if not different:
        return None
    key, n_others = different[0], len(different) - 1
    return Difference(key, old.get(key), new.get(key), f" (and {n_others} more differ)" if n_others else "")
