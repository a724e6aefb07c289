"""Open the session of an audit: check its settings, load its model, and find the sites and detectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from flashbulb.audit.additions.chosen import (
    ChosenModel,
    ComposedModel,
    base_model,
    chosen_model,
    load_chosen,
    only_adds_loras,
)
from flashbulb.audit.additions.lora import MergedLoras
from flashbulb.audit.detectors import Detector, ImageDetector, StepDetector
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.apart import find_audited
from flashbulb.audit.prompts.held import HeldPrompts
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.batch_size import find_batch_size
from flashbulb.audit.record.recorder import Plan, Recorder
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import (
    AuditSettings,
    SettingsError,
    TrainingImageSettings,
)
from flashbulb.audit.stages.kept.batch_size import kept_batch_size
from flashbulb.audit.stages.kept.calibration import CalibrationError, open_calibration
from flashbulb.audit.stages.kept.identity import calibration_identity, recording_identity
from flashbulb.audit.stages.opening.base import (
    Prompts,
    compare_with_base,
    look_at_base,
    look_without_loras,
    refuse_same_text_side,
)
from flashbulb.audit.stages.opening.detectors import fit_to_model, select_detectors
from flashbulb.audit.stages.opening.examine import check_sampling, check_seed_budget, examine_model
from flashbulb.audit.stages.results.state import AuditedModel, Inputs
from flashbulb.audit.statistics.screening import TextSpikes
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.storage import TrainingSource
from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.gate.policy import read_policy
from flashbulb.reports.gate.waivers import read_waivers
from flashbulb.reports.views.text import visible_text


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded model with the inputs and detectors of an audit.

    Args:
        timestep: the scheduler's t of x_T.
        loras: LoRAs without which the model is its base; None if the base is another model, or if there is none.
        base_spikes: spikes of the base's text side, where tier 0 subtracts them.
    """

    inputs: Inputs
    denoiser: Denoiser
    detectors: tuple[Detector, ...]
    timestep: float
    loras: MergedLoras | None = None
    base_spikes: TextSpikes | None = None

    @property
    def image_detectors(self) -> list[ImageDetector]:
        """Detectors that score the samples of a prompt."""
        return [detector for detector in self.detectors if isinstance(detector, ImageDetector)]

    @property
    def step_detectors(self) -> list[StepDetector]:
        """Detectors that score a prompt at a step, as it is recorded."""
        return [detector for detector in self.detectors if isinstance(detector, StepDetector)]

    @property
    def recorder_plan(self) -> Plan:
        """How prompts are recorded."""
        settings = self.inputs.settings
        return Plan(
            run_seed=settings.seed,
            n_seeds=settings.n_seeds,
            timestep=self.timestep,
            batch_size=settings.latents_per_call,
            shard_size=settings.shard_size,
        )

    def with_batches_of(self, batch_size: int) -> Session:
        """Return the same session with another batch size."""
        settings = self.inputs.settings.model_copy(update={"batch_size": batch_size})
        return replace(self, inputs=replace(self.inputs, settings=settings))

    def recorder(self) -> Recorder:
        """Return a new recorder for the sites and step detectors."""
        return Recorder(self.denoiser, self.inputs.sites, self.step_detectors, self.recorder_plan)


def load_session(
    settings: AuditSettings,
    candidates: PromptSet,
    reference: PromptSet | None,
    detectors: tuple[Detector, ...],
    loaded: ComposedModel | None = None,
) -> Session:
    """Load the model, unless it is loaded, find its sites, and open the calibration if there is one."""
    policy, waivers = read_policy(settings.policy), read_waivers(settings.waivers)
    prompts = Prompts(candidates.prompts, reference.prompts if reference is not None else HeldPrompts.of(()))
    name, is_inside = settings.baseline_model, base_is_inside(settings)
    base = None if name is None or is_inside else look_at_base(settings, name, prompts)
    loaded = loaded or load_chosen(chosen_model(settings), settings.device, settings.dtype)
    if is_inside:
        base = look_without_loras(settings, loaded, prompts)
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    model = AuditedModel(loaded.fingerprint, loaded.dtype, loaded.device)
    if base is not None:
        compare_with_base(settings, denoiser, model, base)
    settings, detectors = fit_to_model(settings, detectors, denoiser)
    base_text = None if base is None else base.text_side
    if base_text is not None:
        refuse_same_text_side(settings, denoiser, base_text)
    check_seed_budget(settings, denoiser)
    examine_model(settings, denoiser, *prompts.texts())
    sites = denoiser.sites(settings.sites)
    inputs = Inputs(
        settings, model, sites, candidates, reference, None, policy, waivers, base=None if base is None else base.model
    )
    if settings.calibration is not None:
        saved = open_calibration(settings.calibration, calibration_identity(model, settings))
        _refuse_audited(settings.calibration, saved.prompts, candidates)
        inputs = replace(inputs, reference=saved.prompts, saved=saved.recorded)
    loras, spikes = loaded.loras if is_inside else None, None if base_text is None else base_text.spikes
    timestep = denoiser.first_timestep(settings.num_inference_steps)
    return Session(inputs, denoiser, detectors, timestep, loras, spikes)


def _refuse_audited(calibration: Path, reference: PromptSet, candidates: PromptSet) -> None:
    """Refuse a calibration that was recorded on prompts to audit, behind which memorized ones would hide themselves."""
    if audited := find_audited(reference, candidates):
        raise CalibrationError(
            f"{calibration} holds {count_text(len(audited), 'prompt')} to audit, first "
            f"{visible_text(audited[0].text, 60)!r}; calibrate without them, or give --reference, which leaves them out"
        )


def reload_session(inputs: Inputs) -> Session:
    """Load the recorded model again, with the dtype and on the device of the recording.

    Raises:
        SettingsError: the model has changed since.
    """
    settings = inputs.settings
    loaded = _reload(settings, chosen_model(settings), inputs.model)
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    denoiser.require(*settings.strategies)
    check_sampling(settings, denoiser)
    return replace(_session_of(inputs, denoiser), loras=loaded.loras if base_is_inside(settings) else None)


def open_base(session: Session) -> AbstractContextManager[Session]:
    """Return a block in which the base can be recorded.

    A model that is the base with LoRAs is the base in the block. Any other base is loaded when the block is opened,
    and the block does not keep the session, so the caller can let go of the audited model before.
    """
    if session.loras is None:
        return _loaded_base(session.inputs)
    return _without_loras(session, session.loras)


@contextmanager
def _loaded_base(inputs: Inputs) -> Iterator[Session]:
    yield reload_base(inputs)


@contextmanager
def _without_loras(session: Session, loras: MergedLoras) -> Iterator[Session]:
    inputs = session.inputs
    with loras.off():
        yield _session_of(inputs, open_denoiser(session.denoiser.pipe, inputs.settings.clip_skip))


def base_is_inside(settings: AuditSettings) -> bool:
    """Return whether the base is the audited model without its LoRAs."""
    return settings.baseline_model is not None and only_adds_loras(settings, settings.baseline_model)


def reload_base(inputs: Inputs) -> Session:
    """Load the base model again, beside the audited one or after it.

    Raises:
        SettingsError: it has changed since.
    """
    name, base = inputs.settings.baseline_model, inputs.base
    assert name is not None, "an audit without a base records nothing on one"
    assert base is not None, f"{name} was not looked at"
    loaded = _reload(inputs.settings, base_model(inputs.settings, name), base)
    return _session_of(inputs, open_denoiser(loaded.pipe, inputs.settings.clip_skip))


def _reload(settings: AuditSettings, chosen: ChosenModel, model: AuditedModel) -> ComposedModel:
    loaded = load_chosen(chosen, model.device, model.dtype)
    if loaded.fingerprint != model.fingerprint:
        raise SettingsError(
            f"{chosen.model} has fingerprint {loaded.fingerprint}, {settings.out} was recorded from "
            f"{model.fingerprint}; put that model back, or record this one into another directory"
        )
    return loaded


def _session_of(inputs: Inputs, denoiser: Denoiser) -> Session:
    settings = inputs.settings
    timestep = denoiser.first_timestep(settings.num_inference_steps)
    return Session(inputs, denoiser, select_detectors(settings.detectors, settings.sites), timestep)


def training_source(settings: TrainingImageSettings) -> TrainingSource | None:
    """Return where the training images are; None without --train-images."""
    if settings.train_images is None:
        return None
    return TrainingSource(
        settings.train_images, settings.descriptor, settings.descriptor_weights, settings.descriptor_sha256
    )


def load_training_images(settings: TrainingImageSettings, denoiser: Denoiser) -> TrainingImages | None:
    """Open the training images at the size of the model's images; None without --train-images."""
    source = training_source(settings)
    return None if source is None else source.opened(*denoiser.image_size)


def settle_batch_size(session: Session) -> Session:
    """Replace --batch-size auto by that of the same recording if it has begun, else by the fastest that fits."""
    inputs, settings = session.inputs, session.inputs.settings
    if settings.batch_size != "auto":
        return session
    size = kept_batch_size(settings.out, recording_identity(inputs))
    if size is None:
        first = next(iter(inputs.sets_to_record.values())).prompts[: settings.shard_size]
        with computing():
            size = find_batch_size(
                lambda size: session.with_batches_of(size).recorder(), first, settings.n_seeds, session.denoiser.device
            )
    return session.with_batches_of(size)
