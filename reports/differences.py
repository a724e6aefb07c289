"""What two statements of the same kind differ in, for messages that name both values."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """The first key whose values differ, both values, and in words how many keys more there are."""

    key: str
    was: Any
    now: Any
    others: str


def first_difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> Difference | None:
    """Compare two mappings, of which one may lack what the other has; None where they are equal."""
    different = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
    if not different:
        return None
    key, n_others = different[0], len(different) - 1
    return Difference(key, was.get(key), now.get(key), f" (and {n_others} more differ)" if n_others else "")
