"""A recorded set on disk: read its shards one at a time, write and read its prompts, find damage.

Activations of step sites are averaged over seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from flashbulb.audit.detectors import Matrix
from flashbulb.audit.prompts.prompt_set import Prompt, PromptSet
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.record.recorder import Recorded
from flashbulb.audit.record.rows import PROMPT_FOLDER, STEP_FOLDER
from flashbulb.hooks import DamagedFile, complete_shards, read_activations, read_manifest
from flashbulb.reports.tables.files import atomic_write, sha256_of

PROMPTS_FILE = "prompts.parquet"
_FILE_SHA256 = "file_sha256"
_ROWS_AT_ONCE = 8192
_PROMPT_FIELDS = [field.name for field in fields(Prompt)]


class Shards:
    """The shards of one recorded set.

    Args:
        n_seeds: number of recorded seeds.
        n_seeds_used: means are taken over this many of the first seeds; by default over all.
    """

    def __init__(self, folder: Path, n_shards: int, n_seeds: int, n_seeds_used: int | None = None) -> None:
        self._folder, self._n_shards, self._n_seeds = folder, n_shards, n_seeds
        self._n_seeds_used = n_seeds_used or n_seeds

    def matrices(self, columns: Columns) -> Iterator[Matrix]:
        """Yield the neurons of the columns side by side, one shard at a time: [prompt, neuron]."""
        for index in range(self._n_shards):
            yield self._read(index, columns, slice(None))

    def matrix(self, columns: Columns, limit: int | None = None) -> Matrix:
        """Return the neurons of the columns for all prompts, or for the first `limit`: [prompt, neuron]."""
        parts: list[Matrix] = []
        for part in self.matrices(columns):
            parts.append(part)
            if limit is not None and sum(map(len, parts)) >= limit:
                break
        return np.concatenate(parts)[:limit]

    def rows(self, columns: Columns, positions: Collection[int]) -> Iterator[tuple[int, Matrix]]:
        """Yield each of `positions` and the neurons of that prompt, [1, neuron], in the order of the shards.

        Shards without such a prompt are not read.
        """
        n_rows_per_prompt = 1 if columns.are_of_prompt_sites else self._n_seeds
        start = 0
        for index in range(self._n_shards):
            n_prompts = read_manifest(self._path(index, columns.are_of_prompt_sites)).n_rows // n_rows_per_prompt
            chosen = [position - start for position in positions if start <= position < start + n_prompts]
            if chosen:
                matrix = self._read(index, columns, chosen)
                yield from ((start + row, matrix[i : i + 1]) for i, row in enumerate(chosen))
            start += n_prompts

    def detector_scores(self, detectors: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
        """Return the scores of step detectors by name, means over seeds: [prompt]; NaN where there is none."""
        parts: dict[str, list[npt.NDArray[np.float64]]] = {detector: [] for detector in detectors}
        for index in range(self._n_shards if detectors else 0):
            _, keys = read_activations([self._path(index, False)], [])
            for detector, values in parts.items():
                values.append(np.asarray(keys[detector], dtype=np.float64).reshape(-1, self._n_seeds))
        return {
            detector: np.asarray(np.concatenate(values)[:, : self._n_seeds_used].mean(axis=1))
            for detector, values in parts.items()
        }

    def _path(self, index: int, is_prompt_site: bool) -> Path:
        return self._folder / (PROMPT_FOLDER if is_prompt_site else STEP_FOLDER) / f"part-{index:05d}.parquet"

    def _read(self, index: int, columns: Columns, chosen: slice | list[int]) -> Matrix:
        """Read the columns of the chosen prompts of one shard: [prompt, neuron]."""
        is_prompt_site = columns.are_of_prompt_sites
        arrays, _ = read_activations([self._path(index, is_prompt_site)], columns.names)
        if is_prompt_site:
            return columns.join({name: rows[chosen] for name, rows in arrays.items()})
        return columns.join({name: self._mean_over_seeds(rows, chosen) for name, rows in arrays.items()})

    def _mean_over_seeds(self, rows: Matrix, chosen: slice | list[int]) -> Matrix:
        by_seed = rows.reshape(-1, self._n_seeds, rows.shape[1])[chosen]
        return np.asarray(by_seed[:, : self._n_seeds_used].mean(axis=1), dtype=np.float32)


def save_prompts(folder: Path, prompts: PromptSet) -> dict[str, Any]:
    """Write prompts.parquet into `folder`; return the other fields of the set, and the hash of the file."""
    with atomic_write(folder / PROMPTS_FILE) as part:
        pd.DataFrame([asdict(prompt) for prompt in prompts.prompts]).to_parquet(part, index=False)
    other_fields = {field.name: getattr(prompts, field.name) for field in fields(PromptSet) if field.name != "prompts"}
    return {**other_fields, _FILE_SHA256: sha256_of(folder / PROMPTS_FILE)}


def read_prompt_set(folder: Path, saved: Mapping[str, Any]) -> PromptSet:
    """Return the set that `save_prompts` wrote; `saved` is what it returned.

    Raises:
        DamagedFile: the file is missing, or is not the one that was written.
    """
    other_fields = dict(saved)
    check_intact(folder / PROMPTS_FILE, other_fields.pop(_FILE_SHA256))
    return PromptSet(prompts=tuple(_read_prompts(folder / PROMPTS_FILE)), **other_fields)


def _read_prompts(path: Path) -> Iterator[Prompt]:
    """Yield the prompts of a file, some rows at a time; all prompts of a source share its name."""
    sources: dict[str, str] = {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=_PROMPT_FIELDS, use_threads=False):
            for row in batch.to_pylist():
                yield Prompt(**{**row, "source_file": sources.setdefault(row["source_file"], row["source_file"])})


def check_intact(path: Path, sha256: str) -> None:
    """Raise DamagedFile if a file is missing, or if its hash is not `sha256`."""
    if not path.is_file() or sha256_of(path) != sha256:
        raise DamagedFile(f"{path} is missing or damaged")


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
