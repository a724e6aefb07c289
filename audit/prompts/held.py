"""Prompts held as columns: about 100 bytes each, a third of what an object takes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Prompt:
    """One distinct text, without surrounding whitespace.

    Args:
        prompt_id: the first 16 hex digits of the SHA-256 of the text.
        source_row: where the text first occurs, counted from 1. Text files, JSON lines and CSV count lines: the
            header of a CSV is line 1, and a record of several lines counts by its first. JSON lists and Parquet
            count records.
        n_duplicates: number of rows with exactly this text; 1 if it has no duplicate.
    """

    prompt_id: str
    text: str
    source_file: str
    source_row: int
    n_duplicates: int


_TYPES = {"source_file": pa.dictionary(pa.int32(), pa.string()), "source_row": pa.int64(), "n_duplicates": pa.int64()}
PROMPT_COLUMNS = pa.schema([(field.name, _TYPES.get(field.name, pa.string())) for field in fields(Prompt)])
"""The fields of `Prompt`."""
_AT_ONCE = 10_000  # prompts that are objects at one time


class HeldPrompts(Sequence[Prompt]):
    """Prompts as columns. One that is looked at becomes an object, which nothing keeps.

    Args:
        columns: those of `PROMPT_COLUMNS`.
    """

    __slots__ = ("columns",)

    def __init__(self, columns: pa.Table) -> None:
        self.columns = columns.combine_chunks()

    @classmethod
    def of(cls, prompts: Iterable[Prompt]) -> HeldPrompts:
        """Hold prompts, of which few are objects at one time if they are made one by one."""
        left, parts = iter(prompts), list[pa.Table]()
        while some := list(islice(left, _AT_ONCE)):
            by_name = {name: [getattr(prompt, name) for prompt in some] for name in PROMPT_COLUMNS.names}
            parts.append(pa.table(by_name, PROMPT_COLUMNS))
        return cls.joined(parts)

    @classmethod
    def joined(cls, parts: Iterable[pa.Table]) -> HeldPrompts:
        """Hold the prompts of all parts, each with the columns of `PROMPT_COLUMNS`; there may be none."""
        return cls(pa.concat_tables([PROMPT_COLUMNS.empty_table(), *parts]).unify_dictionaries())

    @property
    def texts(self) -> list[str]:
        """The texts of all."""
        return self._values("text")

    @property
    def ids(self) -> list[str]:
        """The ids of all."""
        return self._values("prompt_id")

    @property
    def sha256(self) -> str:
        """Hash of the texts in their order; where they were read from is no part of it."""
        return hashlib.sha256(" ".join(self.ids).encode()).hexdigest()

    def where(self, chosen: npt.NDArray[np.bool_]) -> HeldPrompts:
        """Return the prompts that are chosen: [prompt]."""
        return HeldPrompts(self.columns.filter(pa.array(chosen)))

    def take(self, positions: Sequence[int]) -> HeldPrompts:
        """Return copies of the prompts at these positions; a slice of columns would hold on to all rows."""
        return HeldPrompts(self.columns.take(pa.array(positions, pa.int64())))

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def __iter__(self) -> Iterator[Prompt]:
        for start in range(0, len(self), _AT_ONCE):
            part = HeldPrompts(self.columns.slice(start, _AT_ONCE))
            yield from map(Prompt, *map(part._values, PROMPT_COLUMNS.names))

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> HeldPrompts: ...
    def __getitem__(self, index: int | slice) -> Prompt | HeldPrompts:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        position = range(len(self))[index]
        return next(iter(HeldPrompts(self.columns.slice(position, 1))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeldPrompts) and all(
            self._values(name) == other._values(name) for name in PROMPT_COLUMNS.names
        )

    def _values(self, name: str) -> list[Any]:
        values: list[Any] = self.columns[name].to_numpy().tolist()
        return values


@dataclass(frozen=True, slots=True)
class ScreenedCandidates:
    """What tier 0 found of the candidates: what it left out, and its scores.

    Args:
        left_out: the prompts that it left out, in the order of the prompt file.
        passed: whether a candidate passed, [candidate], in the order of the prompt file.
        scores: of the candidates: [candidate].
        cut: what is read of each truncated prompt that it left out, see `EncodedPrompts.readings_of_cut`.
    """

    left_out: HeldPrompts
    passed: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    cut: tuple[int, ...] = ()


class TextsInOrder(Sequence[str]):
    """The texts of all candidates in the order of the prompt file, none of which is held twice.

    Args:
        passing: the texts that passed tier 0, in that order.
    """

    def __init__(self, passing: Sequence[str], screened: ScreenedCandidates) -> None:
        self._passing, self._screened = passing, screened
        self._rank = np.where(screened.passed, screened.passed.cumsum(), (~screened.passed).cumsum()) - 1

    def __len__(self) -> int:
        return len(self._rank)

    def __getitem__(self, index: Any) -> Any:
        rank = int(self._rank[index])
        left_out = self._screened.left_out.columns
        return self._passing[rank] if self._screened.passed[index] else left_out["text"][rank].as_py()
