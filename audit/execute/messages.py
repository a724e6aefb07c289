"""What a worker tells the process that hands out the tasks; reading these needs no torch."""

from __future__ import annotations

from typing import Any, NamedTuple


class Placed(NamedTuple):
    """The worker's process has begun."""


class Ready(NamedTuple):
    """The worker has loaded its model."""


class Advanced(NamedTuple):
    """So many more units of the task are done."""

    n: int
    remark: str


class Done(NamedTuple):
    """The task is performed."""

    result: Any


class Said(NamedTuple):
    """A line for the log."""

    level: int
    text: str


class Failed(NamedTuple):
    """The worker ends with an error that another worker would meet as well."""

    error: Exception


class Ended(NamedTuple):
    """The worker has ended, and another one may do better."""

    reason: str


Message = Placed | Ready | Advanced | Done | Said | Failed | Ended
