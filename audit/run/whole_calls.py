"""Take back from the disk only what is kept whole of one call of a model, for its last bits depend on the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar


class _OfCall(Protocol):
    """A result that knows the names of all that was computed in one call with it."""

    @property
    def together(self) -> Sequence[str]: ...


_ResultT = TypeVar("_ResultT", bound=_OfCall)


def of_whole_calls(loaded: Mapping[str, _ResultT | None], has_file: Callable[[str], bool]) -> dict[str, _ResultT]:
    """Return the results by name, but nothing of a call of which something is missing.

    Args:
        loaded: what was read, None where that failed or nothing is kept.
        has_file: whether anything is kept under a name that was not read.
    """

    def is_there(name: str) -> bool:
        return loaded[name] is not None if name in loaded else has_file(name)

    return {
        name: result for name, result in loaded.items() if result is not None and all(map(is_there, result.together))
    }
