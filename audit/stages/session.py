"""Open the session of an audit: check its settings, load its model, and find the sites and detectors."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flashbulb.audit.additions.chosen import ChosenModel, base_model, chosen_model, load_chosen
from flashbulb.audit.detectors import (
    Detector,
    ImageDetector,
    StepDetector,
)
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading import resolve_device, resolve_dtype
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.recorder import Plan, Recorder, estimate_bytes
from flashbulb.audit.settings import (
    AuditSettings,
    SettingsError,
    TrainingImageSettings,
)
from flashbulb.audit.settings.checks import check_baseline_model, check_strategies, check_tiers, check_training_images
from flashbulb.audit.stages.base import compare_with_base, look_at_base
from flashbulb.audit.stages.detectors import fit_to_model, select_detectors
from flashbulb.audit.stages.examine import examine_model
from flashbulb.audit.stages.kept.identity import calibration_identity
from flashbulb.audit.stages.kept.recorded import open_calibration
from flashbulb.audit.stages.results.state import AuditedModel, Inputs
from flashbulb.audit.statistics.calibration import MIN_REFERENCE
from flashbulb.audit.training_images.descriptors import load_descriptor
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.reports.gate.policy import read_policy
from flashbulb.reports.gate.waivers import read_waivers


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded model with the inputs and detectors of an audit."""

    inputs: Inputs
    denoiser: Denoiser
    detectors: tuple[Detector, ...]
    recorder_plan: Plan

    @property
    def image_detectors(self) -> list[ImageDetector]:
        """Detectors that score the samples of a prompt."""
        return [detector for detector in self.detectors if isinstance(detector, ImageDetector)]

    def recorder(self) -> Recorder:
        """Return a new recorder for the sites and step detectors."""
        step_detectors = [detector for detector in self.detectors if isinstance(detector, StepDetector)]
        return Recorder(self.denoiser, self.inputs.sites, step_detectors, self.recorder_plan)


def load_session(
    settings: AuditSettings, candidates: PromptSet, reference: PromptSet | None, detectors: tuple[Detector, ...]
) -> Session:
    """Load the model, find its sites, and open the calibration if there is one."""
    policy, waivers = read_policy(settings.policy), read_waivers(settings.waivers)
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    texts = [prompt.text for prompt in candidates.prompts]
    base = None if settings.baseline_model is None else look_at_base(settings, settings.baseline_model, dtype, texts)
    loaded = load_chosen(chosen_model(settings), device, dtype)
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    model = AuditedModel(loaded.fingerprint, loaded.dtype, loaded.device)
    if base is not None:
        compare_with_base(settings, denoiser, model, base)
    settings, detectors = fit_to_model(settings, detectors, denoiser)
    examine_model(settings, denoiser, texts)
    sites, of_base = denoiser.sites(settings.sites), None if base is None else base.model
    inputs = Inputs(settings, model, sites, candidates, reference, None, policy, waivers, base=of_base)
    if settings.calibration is not None:
        saved = open_calibration(settings.calibration, calibration_identity(model, settings))
        inputs = replace(inputs, reference=saved.prompts, saved=saved.recorded)
    return Session(inputs, denoiser, detectors, _plan(settings, denoiser))


def reload_session(inputs: Inputs) -> Session:
    """Load the recorded model again, with the dtype and on the device of the recording.

    Raises:
        SettingsError: the model has changed since.
    """
    denoiser = _reload(inputs.settings, chosen_model(inputs.settings), inputs.model)
    denoiser.require(*inputs.settings.strategies)
    return _session_of(inputs, denoiser)


def reload_base(inputs: Inputs) -> Session:
    """Load the base model again, to record the prompts on it.

    Raises:
        SettingsError: it has changed since.
    """
    name, base = inputs.settings.baseline_model, inputs.base
    assert name is not None, "an audit without a base records nothing on one"
    assert base is not None, f"{name} was not looked at"
    return _session_of(inputs, _reload(inputs.settings, base_model(inputs.settings, name), base))


def _reload(settings: AuditSettings, chosen: ChosenModel, model: AuditedModel) -> Denoiser:
    dtype = resolve_dtype(model.dtype, model.device)
    loaded = load_chosen(chosen, model.device, dtype)
    if loaded.fingerprint != model.fingerprint:
        raise SettingsError(
            f"{chosen.model} has fingerprint {loaded.fingerprint}, {settings.out} was recorded from "
            f"{model.fingerprint}; put that model back, or record this one into another directory"
        )
    return open_denoiser(loaded.pipe, settings.clip_skip)


def _session_of(inputs: Inputs, denoiser: Denoiser) -> Session:
    settings = inputs.settings
    return Session(inputs, denoiser, select_detectors(settings.detectors, settings.sites), _plan(settings, denoiser))


def load_training_images(settings: TrainingImageSettings, denoiser: Denoiser) -> TrainingImages | None:
    """Open the training images at the size of the model's images; None without --train-images."""
    if settings.train_images is None:
        return None
    descriptor = None
    if settings.descriptor is not None and settings.descriptor_weights is not None:
        descriptor = load_descriptor(settings.descriptor_weights, settings.descriptor, settings.descriptor_sha256)
    return open_training_images(settings.train_images, *denoiser.image_size, descriptor)


def _plan(settings: AuditSettings, denoiser: Denoiser) -> Plan:
    return Plan(
        run_seed=settings.seed,
        n_seeds=settings.n_seeds,
        timestep=denoiser.first_timestep(settings.num_inference_steps),
        batch_size=settings.batch_size,
        shard_size=settings.shard_size,
    )


def check_settings(settings: AuditSettings, candidates: PromptSet, reference: PromptSet | None) -> None:
    """Refuse settings and prompts that an audit cannot use, before the model is loaded."""
    check_baseline_model(settings)
    if settings.calibration is None:
        check_reference_size(reference or candidates)
    check_training_images(settings)
    check_tiers(settings)
    check_strategies(settings)


def check_reference_size(reference: PromptSet) -> None:
    """Refuse too few prompts to calibrate on."""
    if len(reference.prompts) < MIN_REFERENCE:
        raise SettingsError(
            f"calibration needs at least {MIN_REFERENCE} distinct prompts, {reference.source} has "
            f"{len(reference.prompts)}; give more with --reference"
        )


def check_store_size(inputs: Inputs) -> None:
    """Refuse a recording above the size limit: activations of a large model and many prompts can take terabytes."""
    settings = inputs.settings
    n_prompts = len(inputs.models) * sum(len(prompts.prompts) for prompts in inputs.sets_to_record.values())
    gib = estimate_bytes(inputs.sites, settings.n_seeds, n_prompts) / 2**30
    if gib > settings.max_store_gib:
        raise SettingsError(
            f"recording {n_prompts} prompts would take up to {gib:.1f} GiB, the limit is {settings.max_store_gib:g}; "
            "use --sites feed_forward, fewer --seeds or fewer prompts, or raise --max-store-gib"
        )
