"""A recorded set on disk: read its shards one at a time, write and read its prompts, find damage.

Activations of step sites are averaged over seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashbulb.audit.detectors import Matrix
from flashbulb.audit.prompts.prompt_set import Prompt, PromptSet
from flashbulb.audit.record.recorder import PROMPT_FOLDER, STEP_FOLDER, Recorded
from flashbulb.hooks import Site, complete_shards, read_activations, read_manifest
from flashbulb.reports.tables.files import atomic_write

PROMPTS_FILE = "prompts.parquet"
_PROMPT_FIELDS = [field.name for field in fields(Prompt)]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the shards: the neurons of one site, with one reduction."""

    site: Site
    reduction: str

    @property
    def name(self) -> str:
        return f"{self.site.name}/{self.reduction}"

    @property
    def token_class(self) -> str:
        """`start`, `prompt`, `end` or `padding` at prompt sites; `all` without a token axis or over all tokens."""
        return self.reduction.split("_")[0] if self.site.is_prompt_site else "all"


class Shards:
    """The shards of one recorded set.

    Args:
        n_seeds: number of recorded seeds.
        n_seeds_used: means are taken over this many of the first seeds; by default over all.
    """

    def __init__(self, folder: Path, n_shards: int, n_seeds: int, n_seeds_used: int | None = None) -> None:
        self._folder, self._n_shards, self._n_seeds = folder, n_shards, n_seeds
        self._n_seeds_used = n_seeds_used or n_seeds

    def matrices(self, columns: Sequence[Column]) -> Iterator[Matrix]:
        """Yield the neurons of the columns side by side, one shard at a time: [prompt, neuron]."""
        names = [column.name for column in columns]
        is_prompt_site = columns[0].site.is_prompt_site
        for index in range(self._n_shards):
            arrays, _ = read_activations([self._path(index, is_prompt_site)], names)
            matrix = np.concatenate([arrays[name] for name in names], axis=1)
            yield matrix if is_prompt_site else self._mean_over_seeds(matrix)

    def matrix(self, columns: Sequence[Column], limit: int | None = None) -> Matrix:
        """Return the neurons of the columns for all prompts, or for the first `limit`: [prompt, neuron]."""
        parts: list[Matrix] = []
        for part in self.matrices(columns):
            parts.append(part)
            if limit is not None and sum(map(len, parts)) >= limit:
                break
        return np.concatenate(parts)[:limit]

    def detector_scores(self, detector: str) -> npt.NDArray[np.float64]:
        """Return a step detector's score of each prompt, its mean over seeds: [prompt]; NaN where there is none."""
        values = []
        for index in range(self._n_shards):
            _, keys = read_activations([self._path(index, False)], [])
            values.append(np.asarray(keys[detector], dtype=np.float64).reshape(-1, self._n_seeds))
        return np.asarray(np.concatenate(values)[:, : self._n_seeds_used].mean(axis=1))

    def _path(self, index: int, is_prompt_site: bool) -> Path:
        return self._folder / (PROMPT_FOLDER if is_prompt_site else STEP_FOLDER) / f"part-{index:05d}.parquet"

    def _mean_over_seeds(self, matrix: Matrix) -> Matrix:
        by_seed = matrix.reshape(-1, self._n_seeds, matrix.shape[1])[:, : self._n_seeds_used]
        return np.asarray(by_seed.mean(axis=1), dtype=np.float32)


def save_prompts(folder: Path, prompts: PromptSet) -> dict[str, Any]:
    """Write prompts.parquet into `folder`, and return the other fields of the set."""
    with atomic_write(folder / PROMPTS_FILE) as part:
        pd.DataFrame([asdict(prompt) for prompt in prompts.prompts]).to_parquet(part, index=False)
    return {field.name: getattr(prompts, field.name) for field in fields(PromptSet) if field.name != "prompts"}


def read_prompt_set(folder: Path, other_fields: Mapping[str, Any]) -> PromptSet:
    """Return the set that `save_prompts` wrote; `other_fields` is what it returned."""
    table = pd.read_parquet(folder / PROMPTS_FILE)
    rows = table[_PROMPT_FIELDS].itertuples(index=False)
    return PromptSet(prompts=tuple(Prompt(*row) for row in rows), **other_fields)


def find_damage(recorded: Recorded, fingerprint: str, n_prompts: int) -> str | None:
    """Return what is wrong with a recording, or None if its shards are complete and hold every prompt."""
    for half in (PROMPT_FOLDER, STEP_FOLDER):
        shards = complete_shards(recorded.folder / half, fingerprint)
        n_rows = sum(read_manifest(shard).n_rows for shard in shards.values())
        is_complete = sorted(shards) == list(range(recorded.n_shards)) and n_rows >= n_prompts > 0
        if not is_complete or n_rows % n_prompts or (half == PROMPT_FOLDER and n_rows != n_prompts):
            return (
                f"{len(shards)} complete {half} shards with {n_rows} rows, expected {recorded.n_shards} "
                f"for {n_prompts} prompts"
            )
    return None
