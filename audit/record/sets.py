"""Record a set of prompts shard by shard, in this process or in others, all of it or one part of several."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flashbulb.audit.prompts.prompt_set import Prompt
from flashbulb.audit.record.recorder import Plan, Recorded, Shard
from flashbulb.audit.record.rows import PROMPT_FOLDER, STEP_FOLDER
from flashbulb.audit.run.progress import Advance, track
from flashbulb.hooks import complete_shards, read_manifest


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
) -> Recorded:
    """Record `prompts` into `folder`, shard by shard; complete shards with the same fingerprint are kept.

    Args:
        manifest: written with every shard; its "fingerprint" identifies the recording.
        stage: what the progress line says.

    Raises:
        SiteDidNotFire, NonFiniteActivation: the recording cannot be trusted; the shard is not written.
        FingerprintMismatch: the folder holds another recording.
    """
    size, fingerprint = executor.plan.shard_size, str(manifest["fingerprint"])
    n_shards = math.ceil(len(prompts) / size)
    shards = [
        Shard(index, tuple(prompts[index * size : (index + 1) * size]), folder, manifest)
        for index in part.indices(n_shards)
    ]
    halves = (complete_shards(folder / half, fingerprint).keys() for half in (PROMPT_FOLDER, STEP_FOLDER))
    done = set.intersection(*map(set, halves))
    n_done = sum(len(shard.prompts) for shard in shards if shard.index in done)
    with track(stage, sum(len(shard.prompts) for shard in shards), "prompts", done=n_done) as advance:
        executor.record_shards([shard for shard in shards if shard.index not in done], advance)
    return summarize(folder, n_shards, part)


def summarize(folder: Path, n_shards: int, part: Part = WHOLE) -> Recorded:
    """Return where a recorded set is, and what its shards, or those of one part, say that they cost."""
    manifests = [read_manifest(folder / STEP_FOLDER / f"part-{index:05d}.parquet") for index in part.indices(n_shards)]
    n_truncated, n_evaluations = (
        sum(int(str(m.entries[entry])) for m in manifests) for entry in ("n_truncated", "n_evaluations")
    )
    return Recorded(folder, n_shards, n_truncated, n_evaluations)
