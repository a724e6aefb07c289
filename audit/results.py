"""What the stages of an audit hand on to one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from audit.config import AuditSettings
from audit.detecting import Detected
from audit.flagging import Scored
from audit.prompts import Prompt, PromptSet
from audit.recording import Recorded
from audit.recovering import Recovered
from audit.scoring import Spike
from audit.shards import Shards
from audit.style import TextNull
from hooks import Site
from reports.policy import Policy
from reports.run_record import Calibration
from reports.waivers import Waiver


@dataclass(frozen=True, slots=True)
class AuditedModel:
    """A model as far as results depend on it: the hash of its weights and configs, and how it was run."""

    fingerprint: str
    dtype: str
    device: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one audit works on.

    Args:
        candidates: those that reach the UNet, all of them unless tier 0 left some out.
        saved: the reference's recording where it comes from a saved calibration.
        policy: what the result is judged by, with `waivers` of findings.
        left_out: candidates that tier 0 left out, and the tier-0 score of every candidate by prompt_id.
    """

    settings: AuditSettings
    model: AuditedModel
    sites: tuple[Site, ...]
    candidates: PromptSet
    reference: PromptSet | None
    saved: Recorded | None
    policy: Policy
    waivers: tuple[Waiver, ...]
    left_out: tuple[Prompt, ...] = ()
    screen_scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def n_prompts(self) -> int:
        """Distinct prompts of the prompt file."""
        return len(self.candidates.prompts) + len(self.left_out)


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What recording leaves: everything that is known without the model, and where the shards lie.

    Args:
        sets: `candidates`, and `reference` where there is one.
        evaluations: UE that recording takes, whoever made the shards.
        timings: seconds, by stage.
    """

    inputs: Inputs
    sets: Mapping[str, Recorded]
    evaluations: int
    timings: Mapping[str, float]

    def shards(self, name: str) -> Shards:
        """The shards of one set."""
        recorded = self.sets[name]
        return Shards(recorded.folder, recorded.n_shards, self.inputs.settings.n_seeds)


@dataclass(frozen=True, slots=True)
class DetectedRun:
    """What detection leaves.

    Args:
        spikes: the loudest neurons of each flagged candidate, by position.
        text_null: what words alone tell of the flagged; None if not measured.
    """

    detected: Detected
    spikes: Mapping[int, Sequence[Spike]]
    text_null: TextNull | None
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class Results:
    """What all stages found, and the UE that the picture detectors took."""

    recorded: RecordedRun
    found: DetectedRun
    recovered: tuple[Recovered, ...]
    evaluations_of_detectors: int
    picture_detectors: tuple[str, ...]
    severities: tuple[str, ...]

    @property
    def detected(self) -> Detected:
        """Scores and flags, and how they were calibrated."""
        return self.found.detected

    @property
    def scored(self) -> Scored:
        """What the detectors say of the candidates."""
        return self.detected.scored
