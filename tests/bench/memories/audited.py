"""A planted model audited as far as its flags, its flagged prompts and controls recovered from kept samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from flashbulb.audit.images.distances import RgbImage, RgbImages
from flashbulb.audit.planted.collection import PLANTED_KINDS
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.attempts import Attempt, AttemptStore
from flashbulb.audit.recover.climbing import Recovery
from flashbulb.audit.recover.ladder import Target
from flashbulb.audit.recover.outcome import VERDICTS
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.recover.recovery import recover_all
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.audit import run_record
from flashbulb.audit.stages.detect import detect_spikes
from flashbulb.audit.stages.kept.bulk import kept_neurons
from flashbulb.audit.stages.kept.identity import attempt_fingerprints
from flashbulb.audit.stages.kept.recorded import open_recorded
from flashbulb.audit.stages.opening.session import Session, reload_session
from flashbulb.audit.stages.recover import prepare_recovery, target_of
from flashbulb.audit.stages.results.state import DetectedRun, RecordedRun
from flashbulb.audit.statistics.flags import Chosen
from flashbulb.audit.statistics.spikes import read_neurons
from flashbulb.audit.training_images.resemblance import Nearest
from tests.bench.memories.remembered import Remembered
from tests.bench.memories.training_images import TrainedOn, read_trained_on

CLEAN_KINDS = ("unseen", "descriptive")
N_CLEAN, N_CONTROLS = 320, 160
"""Clean captions that are audited beside the planted ones, and unflagged ones among them that are controls."""
SEED = 1
"""Of the audit: no limit or weight was chosen on these samples, and the truth was measured on others."""


@dataclass(frozen=True, slots=True)
class Case:
    """How prompts are sampled.

    Args:
        n_samples: seeds that every prompt gets.
        mean_samples: samples of all prompts together, over the prompts; more than `n_samples` is a budget of seeds.
    """

    n_samples: int
    mean_samples: int

    @property
    def name(self) -> str:
        """Name in tables and of folders."""
        adaptive = f"{self.n_samples} to {16 * self.n_samples} seeds, mean at most {self.mean_samples}"
        return f"{self.n_samples} seeds" if self.mean_samples == self.n_samples else adaptive


@dataclass(frozen=True, slots=True)
class Result:
    """The prompts of one case after recovery.

    Args:
        is_given: with the training images.
        samples: by position, the attempt of all plain samples.
    """

    case: Case
    is_given: bool
    recovered: Sequence[Recovered]
    samples: Mapping[int, Attempt]

    @property
    def evaluations(self) -> int:
        """UE of all prompts, controls too."""
        return sum(attempt.evaluations for prompt in self.recovered for attempt in prompt.attempts)


@dataclass(frozen=True, slots=True)
class Climbed:
    """A prompt after the ladder: all images of the attempts that are no plain samples, their UE, and the best of them.

    Args:
        verdict: the strongest, `best` its image.
    """

    position: int
    images: RgbImages
    evaluations: int
    verdict: str
    best: RgbImage


@dataclass(frozen=True, slots=True)
class Audited:
    """A planted model with its flags and the prompts that are tried.

    Args:
        run: of the audit; samples and attempts are kept beside it.
        chosen: every flagged prompt, and controls among unflagged clean ones.
        found: what searches for training images found so far.
    """

    name: str
    trained_on: TrainedOn
    run: RunDirectory
    session: Session
    recorded: RecordedRun
    detection: DetectedRun
    chosen: Chosen
    found: dict[bytes, Nearest]

    @property
    def prompts(self) -> Sequence[Prompt]:
        """The candidates."""
        return self.recorded.inputs.candidates.prompts

    @property
    def settings(self) -> AuditSettings:
        """Of the audit."""
        return self.recorded.inputs.settings

    def sampled(self, case: Case, *, is_given: bool) -> Result:
        """Sample flagged prompts and controls as the case says, and judge them without or with training images."""
        per_image = self.session.denoiser.evaluations_per_image(
            self.settings.sample_steps, self.settings.guidance_scale
        )
        n_prompts = len(self.chosen.flagged) + len(self.chosen.controls)
        changes = {
            "strategies": ("sample",),
            "n_samples": case.n_samples,
            "seed_budget": (case.mean_samples - case.n_samples) * n_prompts * per_image,
        }
        store = case.name + (", given" if is_given and case.mean_samples > case.n_samples else "")
        recovery = self._recovery(changes, store, is_given=is_given)
        targets = {i: Target(self.prompts[i].text, (), ()) for part in self.chosen for i in part}
        recovered = recover_all(recovery, self.prompts, self.chosen, targets)
        samples = {prompt.position: self._attempt(recovery, prompt.position, "sample", 0) for prompt in recovered}
        return Result(case, is_given, recovered, samples)

    def climbed(self, chosen: Chosen) -> list[Climbed]:
        """Take prompts up the default ladder, without training images: controls as far as flagged ones."""
        recovery, targets = self._recovery({}, "ladder", is_given=False), self._targets(chosen)
        alike = Chosen([*chosen.flagged, *chosen.controls], [])
        return [self._climbed(recovery, prompt) for prompt in recover_all(recovery, self.prompts, alike, targets)]

    def _targets(self, chosen: Chosen) -> dict[int, Target]:
        settings, scored = self.settings, self.detection.detected.scored
        group = next(g for g in scored.groups if g.kind == settings.ascend_kind)
        neurons = read_neurons(
            scored.groups,
            self.recorded.shards("candidates"),
            [*chosen.flagged, *chosen.controls],
            kept_neurons(settings),
        )
        return {i: target_of(self.prompts[i].text, group, prompt_neurons) for i, prompt_neurons in neurons.items()}

    def _climbed(self, recovery: Recovery, prompt: Recovered) -> Climbed:
        pushed = [attempt for attempt in prompt.attempts if attempt.strategy != "sample"]
        kept = [self._attempt(recovery, prompt.position, attempt.strategy, attempt.restart) for attempt in pushed]
        best = max(pushed, key=lambda attempt: VERDICTS.index(attempt.outcome.verdict))
        images = np.concatenate([attempt.images for attempt in kept])
        cost = sum(attempt.evaluations for attempt in kept)
        return Climbed(prompt.position, images, cost, best.outcome.verdict, best.image)

    def _attempt(self, recovery: Recovery, position: int, strategy: str, restart: int) -> Attempt:
        attempt = recovery.store.load(self.prompts[position].prompt_id, strategy, restart)
        assert attempt is not None, f"{strategy} of {self.prompts[position].text} is kept"
        return attempt

    def _recovery(self, changes: Mapping[str, object], store: str, *, is_given: bool) -> Recovery:
        """Prepare the recovery of an audit with changed settings; its samples and attempts are kept beside the run."""
        images = self.trained_on.folder if is_given else None
        settings = self.settings.model_copy(update={**changes, "train_images": images})
        recorded = replace(self.recorded, inputs=replace(self.recorded.inputs, settings=settings))
        group = next(g for g in self.detection.detected.scored.groups if g.kind == settings.ascend_kind)
        recovery = prepare_recovery(self.session, recorded, self.detection, self.run, group, samples=True).recovery
        work = self.run.path.parent
        identities = attempt_fingerprints(recorded.inputs, self.detection.detected.pooled)
        kept = AttemptStore(work / "attempts" / store, identities, keep_images=True)
        training = None if recovery.training is None else Remembered(recovery.training, self.found)
        return replace(recovery, run=work, store=kept, detectors=(), training=training)


@contextmanager
def open_audited(name: str, folder: Path, work: Path) -> Iterator[Audited]:
    """Record and score planted captions and some clean ones of a model, or go on from what `work` holds."""
    captions = _candidates(folder)
    work.mkdir(parents=True, exist_ok=True)
    captions.to_csv(work / "prompts.csv", index=False)
    settings = AuditSettings.model_validate(
        {
            "model": str(folder / "model"),
            "prompts": str(work / "prompts.csv"),
            "reference": str(folder / "reference.csv"),
            "train_images": None,
            "out": work / "audit",
            "seed": SEED,
            "batch_size": 64,
            "examine": False,
        }
    )
    run_record(settings, force=False)
    recorded = open_recorded(settings.out, settings)
    session = reload_session(recorded.inputs)
    with RunDirectory.reopen(settings.out) as run:
        detection = detect_spikes(recorded, run, Stopwatch(), writes_scores=True)
        kinds = captions.set_index("prompt")["kind"]
        by_position = [kinds[prompt.text] for prompt in recorded.inputs.candidates.prompts]
        chosen = _chosen(detection, by_position)
        yield Audited(name, read_trained_on(folder), run, session, recorded, detection, chosen, {})


def _candidates(folder: Path) -> pd.DataFrame:
    captions = pd.read_csv(folder / "captions.csv", keep_default_na=False)
    clean = captions[captions["kind"].isin(CLEAN_KINDS)].sample(N_CLEAN, random_state=SEED)
    return pd.concat([captions[captions["kind"].isin(PLANTED_KINDS)], clean])[["prompt", "kind"]]


def _chosen(detection: DetectedRun, kinds: Sequence[str]) -> Chosen:
    is_flagged = detection.detected.scored.flagged
    clean = [i for i, kind in enumerate(kinds) if kind in CLEAN_KINDS and not is_flagged[i]]
    controls = np.random.default_rng(SEED).choice(clean, size=N_CONTROLS, replace=False)
    return Chosen(detection.chosen.flagged, sorted(int(i) for i in controls))
