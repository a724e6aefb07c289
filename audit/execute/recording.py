"""Record shards with workers: all that builds a recorder in another process, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from flashbulb.audit.additions.chosen import ChosenModel, load_chosen
from flashbulb.audit.detectors import StepDetector, find_detectors
from flashbulb.audit.execute.coordinator import Coordinator
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import resolve_dtype
from flashbulb.audit.record.recorder import Plan, Recorder, Shard, count_initial_evaluations
from flashbulb.audit.run.progress import Advance


@dataclass(frozen=True, slots=True)
class RecorderSpec:
    """A recorder that any process can build.

    Args:
        without_loras: record the model as it was before its LoRAs were added.
        fingerprint: of the model that is recorded, which is compared.
        site_kinds: kinds of sites to record.
        detectors: names of the step detectors.
    """

    model: ChosenModel
    without_loras: bool
    fingerprint: str
    dtype: str
    device: str
    clip_skip: int | None
    site_kinds: tuple[str, ...]
    detectors: tuple[str, ...]
    plan: Plan

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
        loaded = load_chosen(self.model, self.device, resolve_dtype(self.dtype, self.device))
        fingerprint = loaded.unadapted if self.without_loras else loaded.fingerprint
        check_unchanged(self.model, self.fingerprint, fingerprint, "while")
        with loaded.loras.off() if self.without_loras else nullcontext():
            denoiser = open_denoiser(loaded.pipe, self.clip_skip)
            recorder = Recorder(denoiser, denoiser.sites(self.site_kinds), self.step_detectors, self.plan)
            yield lambda shard, advance: recorder.record_shards([shard], advance)


def check_unchanged(model: ChosenModel, recorded: str, found: str, when: str) -> None:
    """Refuse a model whose fingerprint is no longer the recorded one.

    Args:
        when: "while" or "since" it was recorded.

    Raises:
        ModelError: the fingerprints differ.
    """
    if found != recorded:
        raise ModelError(
            f"{model.model} changed {when} it was recorded, from fingerprint {recorded} to {found}; put that model "
            "back and run the same command again"
        )


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
