"""The records that one stage of an audit hands to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from flashbulb.audit.prompts.held import ScreenedCandidates, TextsInOrder
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.recorder import Recorded
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.statistics.detection import Detected
from flashbulb.audit.statistics.flags import Chosen, Scored
from flashbulb.audit.statistics.spikes import PromptNeurons
from flashbulb.audit.statistics.style import TextNull
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.hooks import Site
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.waivers import Waiver
from flashbulb.reports.tables.canaries import CanaryRecord
from flashbulb.reports.tables.files import CANARIES_FILE, PROPENSITY_FILE, TABLE_FILES
from flashbulb.reports.tables.frame import Frame, frame_of
from flashbulb.reports.tables.propensity import Propensity
from flashbulb.reports.tables.run_record import Calibration
from flashbulb.reports.views.passed_over import PassedOver


@dataclass(frozen=True, slots=True)
class AuditedModel:
    """What results depend on in a model: the hash of its weights and configs, and the dtype and device it ran with."""

    fingerprint: str
    dtype: str
    device: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of one audit.

    Args:
        candidates: candidate prompts that reach the denoiser: all of them, unless tier 0 left some out.
        saved: recording of the reference prompts, if it comes from a saved calibration.
        policy: limits for the verdict; `waivers` exempt single findings from them.
        screened: candidate prompts that tier 0 left out, and its scores; None without tier 0.
        base: the model that the audited one was fine-tuned from, which has the same sites; None if none is given.
        canaries: captions of planted canaries and their twins; none of the candidates is among them.
    """

    settings: AuditSettings
    model: AuditedModel
    sites: tuple[Site, ...]
    candidates: PromptSet
    reference: PromptSet | None
    saved: Recorded | None
    policy: Policy
    waivers: tuple[Waiver, ...]
    screened: ScreenedCandidates | None = None
    base: AuditedModel | None = None
    canaries: PromptSet | None = None

    @property
    def n_prompts(self) -> int:
        """Number of distinct prompts to audit: all of the prompt file, or those drawn from it."""
        return len(self.candidates.prompts) + self.n_left_out

    @property
    def n_left_out(self) -> int:
        """Number of candidate prompts that tier 0 left out."""
        return 0 if self.screened is None else len(self.screened.left_out)

    @property
    def all_texts(self) -> Sequence[str]:
        """Every candidate's text in the order of the prompt file, those that tier 0 left out included."""
        texts = self.candidates.prompts.texts
        return texts if self.screened is None else TextsInOrder(texts, self.screened)

    @property
    def frame(self) -> Frame:
        """How these prompts were chosen, and what a share among them speaks about."""
        settings, candidates = self.settings, self.candidates
        return frame_of(
            self.n_prompts,
            candidates.n_distinct,
            candidates.sha256,
            seed=settings.seed,
            population=settings.population,
            targeted=settings.targeted,
        )

    @property
    def sets_to_record(self) -> dict[str, PromptSet]:
        """The prompt sets that the run records itself, by name; a saved calibration is recorded already."""
        sets = {
            "reference": None if self.saved else self.reference,
            "candidates": self.candidates,
            "canaries": self.canaries,
        }
        return {name: prompts for name, prompts in sets.items() if prompts is not None}

    @property
    def models(self) -> tuple[AuditedModel, ...]:
        """The audited model, and its base if there is one: each records every set."""
        return (self.model,) if self.base is None else (self.model, self.base)


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """The result of recording: all that detection needs, so it runs without the model.

    Args:
        sets: recordings by name: `candidates`, and `reference` and `canaries` if there are any.
        evaluations: UE of recording by stage, including shards from an interrupted run.
        timings: seconds by stage.
        base_sets: recordings of the same sets on the base model, by the same names; empty without a base.
    """

    inputs: Inputs
    sets: Mapping[str, Recorded]
    evaluations: Mapping[str, int]
    timings: Mapping[str, float]
    base_sets: Mapping[str, Recorded] = field(default_factory=dict)

    def shards(self, name: str) -> Shards:
        """Return the shards of the set `name`."""
        return self._shards(self.sets[name])

    def base_shards(self, name: str) -> Shards:
        """Return the shards of the set `name` that the base model recorded."""
        return self._shards(self.base_sets[name])

    def _shards(self, recorded: Recorded) -> Shards:
        return Shards(recorded.folder, recorded.n_shards, self.inputs.settings.n_seeds)


@dataclass(frozen=True, slots=True)
class DetectedRun:
    """The result of detection.

    Args:
        chosen: the candidate prompts that recovery tries.
        flagged: what the neurons of each flagged candidate prompt show, by position.
        controls: the same for the controls.
        text_null: how well the text alone separates flagged prompts from others; None if not measured.
        warnings: what a reader must know of it, and `problems` why it must not be trusted.
    """

    detected: Detected
    chosen: Chosen
    flagged: Mapping[int, PromptNeurons]
    controls: Mapping[int, PromptNeurons]
    text_null: TextNull | None
    calibration: Calibration
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


class AuditedCanaries(NamedTuple):
    """The table of canaries, what it shows, and the UE spent on it after recording."""

    table: pa.Table
    record: CanaryRecord
    evaluations: int


class OrdinaryPrompts(NamedTuple):
    """What ordinary prompts brought out, and the UE of sampling them."""

    propensity: Propensity
    evaluations: int


@dataclass(frozen=True, slots=True)
class Results:
    """The results of all stages.

    Args:
        detector_evaluations: UE spent by image detectors.
        image_detectors: names of the image detectors that ran.
        severities: of each candidate prompt, in their order.
        training: the training images; None if none were given, or no image was made to compare with them.
        ordinary: what ordinary prompts brought out; None if none were sampled.
        canaries: what planted canaries show; None without any.
    """

    recorded: RecordedRun
    detection: DetectedRun
    recovered: tuple[Recovered, ...]
    detector_evaluations: int
    image_detectors: tuple[str, ...]
    severities: tuple[str, ...]
    training: TrainingImages | None
    ordinary: OrdinaryPrompts | None
    canaries: AuditedCanaries | None

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """What the source of the training images holds beside them."""
        return self.training.passed_over if self.training is not None else ()

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that a finished audit with these results has."""
        optional = {PROPENSITY_FILE: self.ordinary, CANARIES_FILE: self.canaries}
        return (*TABLE_FILES, *(name for name, result in optional.items() if result is not None))

    @property
    def detected(self) -> Detected:
        """Scores and flags, and how they were calibrated."""
        return self.detection.detected

    @property
    def scored(self) -> Scored:
        """Scores of the candidate prompts, by detector."""
        return self.detected.scored
