"""The parts of an annex, which both of its formats are rendered from: sections of sentences, lists and tables."""

from dataclasses import dataclass
from typing import NamedTuple


class Quoted(NamedTuple):
    """A hash, a name or a value. It is shown as code and is never markup."""

    text: str


class Said(NamedTuple):
    """Words that are not ours, such as a prompt or what somebody states. They are never markup."""

    text: str


Cell = str | Quoted | Said
"""A plain string is a sentence or number of ours."""


class Table(NamedTuple):
    """A table; without a header its first column names the rows."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Points(NamedTuple):
    """A list of sentences."""

    items: tuple[Cell, ...]


Block = Cell | Table | Points


@dataclass(frozen=True, slots=True)
class Section:
    """A numbered part of the annex."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Annex:
    """The whole annex.

    Args:
        model: name of the audited model.
        statement: what it states, in a few sentences, the most important first.
        marks: what identifies the run, name and value.
    """

    model: str
    statement: tuple[str, ...]
    marks: tuple[tuple[str, Cell], ...]
    sections: tuple[Section, ...]
