"""Prompts that no later stage looks at one by one, held as columns: about 100 bytes each, a third of an object's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flashbulb.audit.prompts.prompt_set import Prompt

_TYPES = {"source_file": pa.dictionary(pa.int32(), pa.string()), "source_row": pa.int64(), "n_duplicates": pa.int64()}
PROMPT_COLUMNS = pa.schema([(field.name, _TYPES.get(field.name, pa.string())) for field in fields(Prompt)])
"""The fields of `Prompt`."""


def prompt_columns(prompts: Sequence[Prompt]) -> pa.Table:
    """Return prompts as columns."""
    return pa.table(
        {name: [getattr(prompt, name) for prompt in prompts] for name in PROMPT_COLUMNS.names}, PROMPT_COLUMNS
    )


@dataclass(frozen=True, slots=True)
class ScreenedCandidates:
    """What tier 0 found of the candidates: what it left out, and its scores.

    Args:
        left_out: the prompts that it left out, with the columns of `PROMPT_COLUMNS`, in the order of the prompt file.
        passed: whether a candidate passed, [candidate], in the order of the prompt file.
        scores: of the candidates: [candidate].
    """

    left_out: pa.Table
    passed: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]


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
        return self._passing[rank] if self._screened.passed[index] else self._screened.left_out["text"][rank].as_py()
