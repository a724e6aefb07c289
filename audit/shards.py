"""Read the shards of one recorded set, one at a time; step sites are averaged over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audit.recording import PROMPT_FOLDER, STEP_FOLDER
from hooks import Site, read_activations

Matrix = npt.NDArray[np.float32]  # [prompt, neuron]


@dataclass(frozen=True, slots=True)
class Column:
    """One group of neurons: where its activations lie in the shards."""

    site: Site
    reduction: str

    @property
    def name(self) -> str:
        return f"{self.site.name}/{self.reduction}"

    @property
    def token_class(self) -> str:
        """start, prompt, end or padding at prompt sites; `all` where there is no token axis or all count."""
        return self.reduction.split("_")[0] if self.site.is_prompt_site else "all"


class Shards:
    """The shards of one recorded set.

    Args:
        n_seeds: as recorded.
        n_seeds_used: the mean is taken over the first so many; by default over all.
    """

    def __init__(self, folder: Path, n_shards: int, n_seeds: int, n_seeds_used: int | None = None) -> None:
        self._folder, self._n_shards, self._n_seeds = folder, n_shards, n_seeds
        self._n_seeds_used = n_seeds_used or n_seeds

    def matrices(self, columns: Sequence[Column]) -> Iterator[Matrix]:
        """The columns' neurons side by side, shard by shard: [prompt, neuron]."""
        names = [column.name for column in columns]
        is_prompt_site = columns[0].site.is_prompt_site
        for index in range(self._n_shards):
            arrays, _ = read_activations([self._path(index, is_prompt_site)], names)
            matrix = np.concatenate([arrays[name] for name in names], axis=1)
            yield matrix if is_prompt_site else self._mean_over_seeds(matrix)

    def matrix(self, columns: Sequence[Column], limit: int | None = None) -> Matrix:
        """The first `limit` prompts of `matrices`, or all: [prompt, neuron]."""
        gathered: list[Matrix] = []
        for part in self.matrices(columns):
            gathered.append(part)
            if limit is not None and sum(map(len, gathered)) >= limit:
                break
        return np.concatenate(gathered)[:limit]

    def measured(self, detector: str) -> npt.NDArray[np.float64]:
        """A step detector's score of each prompt, its mean over seeds, NaN where it has none: [prompt]."""
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
