"""Record shards with workers: all that builds a recorder in another process, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from flashbulb.audit.detectors import StepDetector, find_detectors
from flashbulb.audit.execute.coordinator import Coordinator
from flashbulb.audit.execute.unchanged_model import UnchangedModel
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.record.recorder import Plan, Recorder, Shard, count_initial_evaluations
from flashbulb.audit.run.progress import Advance


@dataclass(frozen=True, slots=True)
class RecorderSpec:
    """A recorder that any process can build.

    Args:
        without_loras: record the model as it was before its LoRAs were added.
        site_kinds: kinds of sites to record.
        detectors: names of the step detectors.
    """

    model: UnchangedModel
    without_loras: bool
    site_kinds: tuple[str, ...]
    detectors: tuple[str, ...]
    plan: Plan

    @property
    def device(self) -> str:
        """Device of the model."""
        return self.model.device

    @property
    def step_detectors(self) -> list[StepDetector]:
        """The step detectors of these names."""
        found = find_detectors()
        chosen = (found[name] for name in self.detectors)
        return [detector for detector in chosen if isinstance(detector, StepDetector)]

    @property
    def initial_evaluations(self) -> int:
        """UE of the empty prompt, as a recorder spends them."""
        return count_initial_evaluations(self.step_detectors, self.plan)

    @contextmanager
    def opened(self) -> Iterator[Callable[[Shard, Advance], None]]:
        """Load the model and yield what records one shard.

        Raises:
            ModelError: it is no longer the model with this fingerprint.
        """
        loaded = self.model.load("while", without_loras=self.without_loras)
        with loaded.loras.off() if self.without_loras else nullcontext():
            denoiser = open_denoiser(loaded.pipe, self.model.clip_skip)
            recorder = Recorder(denoiser, denoiser.sites(self.site_kinds), self.step_detectors, self.plan)
            yield lambda shard, advance: recorder.record_shards([shard], advance)


@dataclass(frozen=True, slots=True)
class RecordingWorkers:
    """Workers that record; what an `Executor` of `record_set` is."""

    spec: RecorderSpec
    coordinator: Coordinator[Shard, None]

    @property
    def plan(self) -> Plan:
        """How each of them records."""
        return self.spec.plan

    @property
    def initial_evaluations(self) -> int:
        """UE of the empty prompt, counted once; each worker spends them."""
        return self.spec.initial_evaluations

    def record_shards(self, shards: Iterable[Shard], advance: Advance) -> None:
        """Record all of them, in any order.

        Raises:
            WorkersLost, Exception: as `Coordinator.perform`.
        """
        for _ in self.coordinator.perform(shards, advance):
            pass
