"""Recover prompts with workers: all that builds a recovery in another process, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from flashbulb.audit.additions.lora import MergedLoras
from flashbulb.audit.ascent.neurons import NeuronScores
from flashbulb.audit.detectors import ImageDetector, find_detectors
from flashbulb.audit.execute.unchanged_model import UnchangedModel
from flashbulb.audit.model.calls import network_of
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.recover.attempts import AttemptStore
from flashbulb.audit.recover.climbing import Recovery
from flashbulb.audit.recover.ladder import OpenBase, Tools
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.strategies import find_strategies
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.run.progress import Advance
from flashbulb.audit.run.shortage import with_smaller_batches
from flashbulb.audit.statistics.baseline import Baseline
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.storage import TrainingSource
from flashbulb.reports.tables.files import MATCHES_DIRECTORY, RECOVERY_DIRECTORY


@dataclass(frozen=True, slots=True)
class ClimbedNeurons:
    """What the z-scores of the neurons that ascents climb are computed from."""

    columns: Columns
    baseline: Baseline
    timestep: float


@dataclass(frozen=True, slots=True)
class RecoverySpec:
    """A recovery that any process can build.

    Args:
        base: another model that this one was fine-tuned from, which some strategies sample; None if there is none.
        base_is_inside: the base is this model without its LoRAs.
        strategies: their names, in the order of the ladder.
        values: settings of strategies, by the names of `AuditSettings`.
        neurons: None where no strategy climbs.
        identities: by strategy, as `AttemptStore` takes them.
        detectors: names of the image detectors.
        training: None without training images, and where nothing is sampled.
        apart: another recovery with the same model, of prompts that lie in a folder of their own.
    """

    model: UnchangedModel
    base: UnchangedModel | None
    base_is_inside: bool
    strategies: tuple[str, ...]
    values: Mapping[str, Any]
    neurons: ClimbedNeurons | None
    identities: Mapping[str, str]
    detectors: tuple[str, ...]
    training: TrainingSource | None
    plan: SamplePlan
    verify: VerifyPlan
    run: Path
    keep_images: bool
    batch_size: int
    seed_budget: int
    apart: RecoverySpec | None = None

    @property
    def device(self) -> str:
        """Device of the model."""
        return self.model.device

    @contextmanager
    def opened(self) -> Iterator[Callable[[Any, Advance], Any]]:
        """Load the model and the training images, and yield what performs one task of `recover.tasks`.

        Raises:
            ModelError: it is no longer the model that was recorded.
            TrainingImagesError: the training images cannot be opened.
        """
        loaded = self.model.load("since")
        yield Recoverer(self, open_denoiser(loaded.pipe, self.model.clip_skip), loaded.loras).perform_one

    def build(self, denoiser: Denoiser, training: TrainingImages | None, loras: MergedLoras) -> Recovery:
        """Build the recovery on a loaded model.

        Args:
            loras: those of the model.
        """
        found, scores = find_detectors(), None
        if self.neurons is not None:
            scores = NeuronScores(denoiser, self.neurons.columns, self.neurons.timestep, self.neurons.baseline)
        tools = Tools(denoiser, Verifier(denoiser, self.verify), self.plan, scores, self._base_opener(denoiser, loras))
        strategies = find_strategies()
        return Recovery(
            denoiser=denoiser,
            strategies=[strategies[name].build(tools, self.values) for name in self.strategies],
            store=AttemptStore(self.run / RECOVERY_DIRECTORY, self.identities, keep_images=self.keep_images),
            detectors=[d for name in self.detectors if isinstance(d := found[name], ImageDetector)],
            training=training,
            plan=self.plan,
            run=self.run,
            fingerprint=self.model.fingerprint,
            keep_images=self.keep_images,
            batch_size=self.batch_size,
            seed_budget=self.seed_budget,
        )

    def with_batches_of(self, batch_size: int) -> RecoverySpec:
        """Return the same recovery in other batches."""
        return replace(
            self,
            batch_size=batch_size,
            values={**self.values, "batch_size": batch_size},
            verify=replace(self.verify, batch_size=batch_size),
            apart=None if self.apart is None else self.apart.with_batches_of(batch_size),
        )

    def _base_opener(self, denoiser: Denoiser, loras: MergedLoras) -> OpenBase | None:
        """Return what opens the base's denoiser: this model without its LoRAs, or another that is loaded once."""
        base = self.base
        if self.base_is_inside:
            return partial(_without, denoiser, loras)
        if base is None:
            return None
        load = cache(lambda: open_denoiser(base.load("since").pipe, base.clip_skip))
        return lambda: load().called()


class Recoverer:
    """Performs tasks on a loaded model, in smaller batches once memory runs out."""

    def __init__(self, spec: RecoverySpec, denoiser: Denoiser, loras: MergedLoras) -> None:
        self.spec, self._denoiser, self._loras = spec, denoiser, loras
        sources = {part.run: part.training for part in (spec, spec.apart) if part is not None}
        self._training = {run: self._open(run, source) for run, source in sources.items()}
        self._recoveries = self._build()

    @property
    def recovery(self) -> Recovery:
        """The recovery in batches that fit into memory."""
        return self._recoveries[self.spec.run]

    @property
    def apart(self) -> Recovery:
        """The recovery apart."""
        assert self.spec.apart is not None, "nothing is recovered apart"
        return self._recoveries[self.spec.apart.run]

    def perform(self, tasks: Iterable[Any], advance: Advance) -> Iterator[tuple[Any, Any]]:
        """Perform tasks in this process, and yield each with its result."""
        return ((task, self.perform_one(task, advance)) for task in tasks)

    def perform_one(self, task: Any, advance: Advance) -> Any:
        """Perform a task of `recover.tasks`, or another of the same methods, with the recovery of its folder."""

        def use(batch_size: int) -> None:
            self.spec = self.spec.with_batches_of(batch_size)
            self._recoveries = self._build()

        def call() -> Any:
            return task.perform(self._recoveries[task.run], advance)

        return with_smaller_batches(call, self.spec.batch_size, use, str(task))

    def _open(self, run: Path, source: TrainingSource | None) -> TrainingImages | None:
        """Open training images, whose matches are kept in the run if images are."""
        if source is None:
            return None
        training = source.opened(*self._denoiser.image_size)
        if self.spec.keep_images:
            training.keep_matches(run / MATCHES_DIRECTORY)
        return training

    def _build(self) -> dict[Path, Recovery]:
        parts = [part for part in (self.spec, self.spec.apart) if part is not None]
        return {part.run: part.build(self._denoiser, self._training[part.run], self._loras) for part in parts}


@contextmanager
def _without(denoiser: Denoiser, loras: MergedLoras) -> Iterator[Callable[..., Any]]:
    """Yield the denoiser of a model without its LoRAs, to be called as pipelines do."""
    network = network_of(denoiser.pipe)
    with loras.switched() as without:

        def call(*inputs: Any, **keywords: Any) -> Any:
            with without():
                return network(*inputs, **keywords)

        yield call
