"""What a worker tells the process that started it; reading these needs no torch."""

from __future__ import annotations

from typing import NamedTuple


class Ready(NamedTuple):
    """The worker has loaded its model."""


class Advanced(NamedTuple):
    """So many more prompts of the shard are done."""

    n: int


class Done(NamedTuple):
    """The shard is written."""


class Said(NamedTuple):
    """A line for the log."""

    level: int
    text: str


class Failed(NamedTuple):
    """The worker ends with an error that another worker would meet as well."""

    error: Exception


Message = Ready | Advanced | Done | Said | Failed
