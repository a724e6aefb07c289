"""Record a set of prompts shard by shard, in this process or in others, all of it or one part of several."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record.recorder import Plan, Recorded, Shard
from flashbulb.audit.record.reduction import LAYOUT, Reduction
from flashbulb.audit.record.rows import CUT, PROMPT_FOLDER, STEP_FOLDER
from flashbulb.audit.run.memory import release_freed_memory
from flashbulb.audit.run.progress import Advance, track
from flashbulb.hooks import complete_shards, read_manifest

logger = logging.getLogger(__name__)


class Executor(Protocol):
    """Records shards: a recorder in this process, or workers that each have one.

    A shard depends on its prompts, the model and the plan alone, so the order and the number of workers change nothing.
    """

    @property
    def plan(self) -> Plan: ...
    @property
    def initial_evaluations(self) -> int: ...

    def record_shards(self, shards: Iterable[Shard], advance: Advance) -> None:
        """Record all of them, in any order; `advance` counts prompts."""


@dataclass(frozen=True, slots=True)
class Part:
    """Which shards of a set to record: every `of`-th one, from the `number`-th on, which counts from 1."""

    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def indices(self, n_shards: int) -> range:
        """Return the shards of this part."""
        return range(self.number - 1, n_shards, self.of)


WHOLE = Part()


def record_set(
    executor: Executor,
    prompts: Sequence[Prompt],
    folder: Path,
    manifest: Mapping[str, Any],
    stage: str,
    part: Part = WHOLE,
    reduction: Reduction | None = None,
    n_dense: int = 0,
) -> Recorded:
    """Record `prompts` into `folder`, shard by shard; complete shards with the same fingerprint are kept.

    Args:
        manifest: written with every shard; its "fingerprint" identifies the recording.
        stage: what the progress line says.
        reduction: of all shards but the first `n_dense`; None to write all activations of all prompts.

    Raises:
        SiteDidNotFire, NonFiniteActivation: the recording cannot be trusted; the shard is not written.
        FingerprintMismatch: the folder holds another recording.
    """
    size, fingerprint = executor.plan.shard_size, str(manifest["fingerprint"])
    n_shards = math.ceil(len(prompts) / size)
    halves = (_complete(folder / half, fingerprint, reduction) for half in (PROMPT_FOLDER, STEP_FOLDER))
    done = set.intersection(*halves)
    sizes = {index: min(size, len(prompts) - index * size) for index in part.indices(n_shards)}
    n_done = sum(n for index, n in sizes.items() if index in done)

    def shard_of(index: int) -> Shard:
        chosen = tuple(prompts[index * size : (index + 1) * size])
        return Shard(index, chosen, folder, manifest, reduction if index >= n_dense else None)

    release_freed_memory()
    with track(stage, sum(sizes.values()), "prompts", done=n_done) as advance:
        executor.record_shards((shard_of(index) for index in sizes if index not in done), advance)
    return summarize(folder, n_shards, part)


def _complete(folder: Path, fingerprint: str, reduction: Reduction | None) -> set[int]:
    """Return the complete shards; one that another reduction made is not among them."""
    shards = complete_shards(folder, fingerprint)
    if reduction is None:
        return set(shards)
    made = {index: read_manifest(path).entries for index, path in shards.items()}
    others = {
        i for i, entries in made.items() if LAYOUT in entries and not reduction.entries.items() <= entries.items()
    }
    if others:
        logger.warning("%d shards of %s were reduced by other baselines, and are recorded again", len(others), folder)
    return made.keys() - others


def summarize(folder: Path, n_shards: int, part: Part = WHOLE) -> Recorded:
    """Return where a recorded set is, and what its shards, or those of one part, say that they cost."""
    entries = _entries(folder, part.indices(n_shards))
    n_truncated, n_evaluations = (
        sum(int(str(entry[name])) for entry in entries) for name in ("n_truncated", "n_evaluations")
    )
    return Recorded(folder, n_shards, n_truncated, n_evaluations)


def cut_readings(recorded: Recorded) -> npt.NDArray[np.int64]:
    """Return what is read of each truncated prompt of a set, see `EncodedPrompts.readings_of_cut`."""
    if not recorded.n_truncated:
        return np.empty(0, dtype=np.int64)
    entries = _entries(recorded.folder, range(recorded.n_shards))
    return np.array([reading for entry in entries for reading in entry.get(CUT, ())], dtype=np.int64)


def _entries(folder: Path, indices: Iterable[int]) -> list[Mapping[str, Any]]:
    return [read_manifest(folder / STEP_FOLDER / f"part-{index:05d}.parquet").entries for index in indices]
