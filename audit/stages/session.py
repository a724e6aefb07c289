"""Open the session of an audit: check its settings, load its model, and find the sites and detectors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from flashbulb.audit.additions.chosen import ChosenModel, base_model, chosen_model, load_chosen
from flashbulb.audit.detectors import (
    Detector,
    ImageDetector,
    NeuronDetector,
    StepDetector,
    describe_cost,
    describe_input,
    find_detectors,
)
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.examination import N_IMAGES, require_working
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading import resolve_device, resolve_dtype
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.recorder import Plan, Recorder, estimate_bytes
from flashbulb.audit.settings import (
    DEFAULT_DETECTORS,
    AuditSettings,
    DiscoverSettings,
    SettingsError,
    TrainingImageSettings,
    default_strategies,
)
from flashbulb.audit.settings.checks import check_baseline_model, check_strategies, check_tiers, check_training_images
from flashbulb.audit.stages.identity import calibration_identity
from flashbulb.audit.stages.recorded import open_calibration
from flashbulb.audit.stages.state import AuditedModel, Inputs
from flashbulb.audit.statistics.calibration import MIN_REFERENCE
from flashbulb.audit.statistics.scores import SCORED_REDUCTIONS, SOURCE
from flashbulb.audit.training_images.descriptors import load_descriptor
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.storage import open_training_images, some_training_images
from flashbulb.hooks import PROMPT_SITE_KINDS, SITE_KINDS, Site
from flashbulb.reports.gate.policy import read_policy
from flashbulb.reports.gate.waivers import read_waivers
from flashbulb.reports.views.audit_plan import offer_line

logger = logging.getLogger(__name__)


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
    base = None if settings.baseline_model is None else _look_at_base(settings, settings.baseline_model, dtype, texts)
    loaded = load_chosen(chosen_model(settings), device, dtype)
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    model = AuditedModel(loaded.fingerprint, loaded.dtype, loaded.device)
    if base is not None:
        _compare_with_base(settings, denoiser, model, base)
    settings, detectors = _fit(settings, detectors, denoiser)
    examine_model(settings, denoiser, texts)
    sites, of_base = denoiser.sites(settings.sites), None if base is None else base.model
    inputs = Inputs(settings, model, sites, candidates, reference, None, policy, waivers, base=of_base)
    if settings.calibration is not None:
        saved = open_calibration(settings.calibration, calibration_identity(model, settings))
        inputs = replace(inputs, reference=saved.prompts, saved=saved.recorded)
    return Session(inputs, denoiser, detectors, _plan(settings, denoiser))


class _Base(NamedTuple):
    """What is compared of a base model; it is not kept in memory beside the audited one."""

    model: AuditedModel
    family: str
    sites: tuple[Site, ...]


def _look_at_base(settings: AuditSettings, name: str, dtype: torch.dtype, prompts: Sequence[str]) -> _Base:
    """Load and examine the base, and let go of it."""
    device = resolve_device(settings.device)
    loaded = load_chosen(base_model(settings, name), device, dtype)
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    examine_model(settings, denoiser, prompts)
    model = AuditedModel(loaded.fingerprint, loaded.dtype, loaded.device)
    return _Base(model, denoiser.title, denoiser.sites(denoiser.site_kinds()))


def _compare_with_base(settings: AuditSettings, denoiser: Denoiser, model: AuditedModel, base: _Base) -> None:
    """Refuse a base that is the same model, or whose neurons are not those of the audited model.

    Raises:
        SettingsError: says which.
    """
    name = settings.baseline_model
    if base.model.fingerprint == model.fingerprint:
        raise SettingsError(
            f"--baseline-model {name} is the model itself (fingerprint {model.fingerprint}), to which nothing was "
            "added; give the model that it was fine-tuned from"
        )
    way_out = "give the model that it was fine-tuned from"
    if base.family != denoiser.title:
        raise SettingsError(f"--baseline-model {name} is {base.family}, the model is {denoiser.title}; {way_out}")
    own, of_base = (
        {site.name: site for site in sites} for sites in (denoiser.sites(denoiser.site_kinds()), base.sites)
    )
    other = next((site for site in {**own, **of_base} if own.get(site) != of_base.get(site)), None)
    if other is not None:
        widths = [f"{sites[other].n_neurons} neurons" if other in sites else "none" for sites in (own, of_base)]
        raise SettingsError(
            f"--baseline-model {name} has other neurons than the model: at {other} it has {widths[1]}, the model has "
            f"{widths[0]}; {way_out}"
        )


def examine_model(settings: AuditSettings | DiscoverSettings, denoiser: Denoiser, prompts: Sequence[str]) -> None:
    """Refuse a model that does not run as it was trained, unless the settings trust it.

    Raises:
        UntrustedModel: says what is wrong, and what would fit.
    """
    if not settings.examine:
        logger.info("not examined whether the model runs as it was trained")
        return
    images = None
    if settings.train_images is not None:
        images = some_training_images(settings.train_images, N_IMAGES, *denoiser.image_size)
    require_working(denoiser, prompts, images)


def _fit(
    settings: AuditSettings, detectors: tuple[Detector, ...], denoiser: Denoiser
) -> tuple[AuditSettings, tuple[Detector, ...]]:
    """Leave out of the defaults what this model has not; what is chosen by name and missing is refused.

    Raises:
        ModelError, SettingsError: a strategy or a detector is chosen that this model has not.
    """
    changes: dict[str, Any] = {}
    if denoiser.not_offered:
        logger.info(offer_line(denoiser.title, denoiser.not_offered))
    kinds = denoiser.site_kinds()
    if set(settings.sites) == set(SITE_KINDS) != set(kinds):
        changes["sites"] = tuple(kind for kind in settings.sites if kind in kinds)
    offered = tuple(name for name in settings.strategies if name not in denoiser.not_offered)
    if offered != settings.strategies and settings.strategies == default_strategies(dict(settings)):
        changes["strategies"] = offered
    denoiser.require(*changes.get("strategies", settings.strategies))
    fitting = tuple(detector for detector in detectors if _can_read(detector, denoiser, kinds))
    if fitting != detectors:
        left_out = next(detector.name for detector in detectors if detector not in fitting)
        if _are_by_name(settings.detectors):
            raise SettingsError(f"--detectors {left_out} reads what {denoiser.title} has not; leave it out")
        changes["detectors"] = tuple(detector.name for detector in fitting) or ("none",)
    for name, value in changes.items():
        logger.info("%s: %s are %s", denoiser.title, name, ", ".join(value))
    return settings.model_copy(update=changes), fitting


def _can_read(detector: Detector, denoiser: Denoiser, kinds: Sequence[str]) -> bool:
    if isinstance(detector, NeuronDetector):
        return detector.kind in kinds
    layers = denoiser.attention_layers()
    if isinstance(detector, StepDetector):
        return detector.reads_attention is None or bool(detector.reads_attention(layers))
    if detector.reads_up_blocks and not denoiser.first_up_convolutions():
        return False
    return not detector.reads_attention or bool(layers)


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


def select_detectors(names: Sequence[str], sites: Sequence[str]) -> tuple[Detector, ...]:
    """Return the detectors of these names.

    Raises:
        SettingsError: a name is unknown, or a detector chosen by name reads sites that are not recorded.
    """
    known = find_detectors()
    unknown = [name for name in names if name not in {"all", "none", *known}]
    if unknown:
        raise SettingsError(f"--detectors: {unknown[0]!r} is not one of all, none, {', '.join(known)}")
    wanted = known if "all" in names else [name for name in dict.fromkeys(names) if name != "none"]
    detectors = tuple(known[name] for name in wanted)
    by_name = _are_by_name(names)
    for detector in detectors:
        if by_name and isinstance(detector, NeuronDetector) and detector.kind not in sites:
            raise SettingsError(
                f"--detectors {detector.name} reads {detector.kind} neurons; add --sites {detector.kind}"
            )
    return detectors


def _are_by_name(names: Sequence[str]) -> bool:
    """Whether detectors were chosen one by one, so that one which cannot be computed is an error."""
    return "all" not in names and tuple(names) != DEFAULT_DETECTORS


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


class ModelSites(NamedTuple):
    """Sites of a model, its family, and the commands and strategies that the family does not offer yet."""

    sites: tuple[Site, ...]
    family: str
    not_offered: tuple[str, ...]


def list_sites(model: ChosenModel) -> ModelSites:
    """Return every site of a model that Flashbulb can record."""
    loaded = load_chosen(model, "cpu", torch.float32)
    denoiser = open_denoiser(loaded.pipe)
    return ModelSites(denoiser.sites(denoiser.site_kinds()), denoiser.title, denoiser.not_offered)


def list_detectors() -> list[tuple[str, str, str, str, str]]:
    """Return a row for each detector: its column of scores.parquet, what it reads, UE per prompt, default, source."""
    spikes = [
        (f"spikes_{kind}", f"{kind} neurons", "0" if kind in PROMPT_SITE_KINDS else "n", "yes", SOURCE)
        for kind in SCORED_REDUCTIONS
    ]
    others = [
        (
            name,
            describe_input(detector),
            describe_cost(detector),
            "yes" if name in DEFAULT_DETECTORS else "no",
            detector.source,
        )
        for name, detector in find_detectors().items()
    ]
    return [*spikes, *others]
