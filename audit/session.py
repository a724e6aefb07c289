"""What an audit works with once its model is loaded: sites, prompts, detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from audit.config import DEFAULT_DETECTORS, AuditSettings, ModelSettings, SettingsError
from audit.denoiser import Denoiser
from audit.detectors import Detector, NeuronDetector, PictureDetector, StepDetector, available
from audit.identity import calibration_identity
from audit.loading import load_model
from audit.prompts import PromptSet
from audit.recording import Plan, Recorder
from audit.results import AuditedModel, Inputs
from audit.saved_calibration import open_calibration
from audit.training.descriptors import load_descriptor
from audit.training_images import TrainingImages, open_training_images
from hooks import find_sites
from reports.policy import read_policy
from reports.waivers import read_waivers


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded model with what is to be done to it."""

    inputs: Inputs
    denoiser: Denoiser
    detectors: tuple[Detector, ...]
    recorder_plan: Plan

    @property
    def picture_detectors(self) -> list[PictureDetector]:
        """Those that score what a prompt's samples show."""
        return [detector for detector in self.detectors if isinstance(detector, PictureDetector)]

    def recorder(self) -> Recorder:
        chosen = [detector for detector in self.detectors if isinstance(detector, StepDetector)]
        return Recorder(self.denoiser, self.inputs.sites, chosen, self.recorder_plan)


def load_session(
    settings: AuditSettings, candidates: PromptSet, reference: PromptSet | None, detectors: tuple[Detector, ...]
) -> Session:
    """Load the model, find its sites, and open the calibration if one is given."""
    policy, waivers = read_policy(settings.policy), read_waivers(settings.waivers)
    device = device_of(settings.device)
    dtype = dtype_of(settings.dtype, device)
    loaded = load_model(settings.model, device=device, dtype=dtype, allow_pickle=settings.allow_pickle)
    denoiser, model = Denoiser(loaded.pipe), AuditedModel(loaded.fingerprint, loaded.dtype, loaded.device)
    sites = find_sites(loaded.pipe, settings.sites)
    inputs = Inputs(settings, model, sites, candidates, reference, None, policy, waivers)
    if settings.calibration is not None:
        saved = open_calibration(settings.calibration, calibration_identity(model, settings))
        inputs = replace(inputs, reference=saved.prompts, saved=saved.recorded)
    return Session(inputs, denoiser, detectors, _plan(settings, denoiser))


def reload_session(inputs: Inputs) -> Session:
    """Load the model that `inputs` were recorded from again, as it was run then.

    Raises:
        SettingsError: the model is another one now.
    """
    settings, model = inputs.settings, inputs.model
    dtype = dtype_of(model.dtype, model.device)
    loaded = load_model(settings.model, device=model.device, dtype=dtype, allow_pickle=settings.allow_pickle)
    if loaded.fingerprint != model.fingerprint:
        raise SettingsError(
            f"{settings.model} has fingerprint {loaded.fingerprint}, {settings.out} was recorded from "
            f"{model.fingerprint}; put that model back, or record this one into another directory"
        )
    denoiser = Denoiser(loaded.pipe)
    return Session(inputs, denoiser, chosen_detectors(settings.detectors, settings.sites), _plan(settings, denoiser))


def chosen_detectors(names: Sequence[str], sites: Sequence[str]) -> tuple[Detector, ...]:
    """The detectors of these names; one chosen by name has to find its sites among those recorded."""
    known = available()
    unknown = [name for name in names if name not in {"all", "none", *known}]
    if unknown:
        raise SettingsError(f"--detectors: {unknown[0]!r} is none of all, none, {', '.join(known)}")
    wanted = known if "all" in names else [name for name in dict.fromkeys(names) if name != "none"]
    detectors = tuple(known[name] for name in wanted)
    by_name = "all" not in names and tuple(names) != DEFAULT_DETECTORS
    for detector in detectors:
        if by_name and isinstance(detector, NeuronDetector) and detector.kind not in sites:
            raise SettingsError(
                f"--detectors {detector.name} reads {detector.kind} neurons; add --sites {detector.kind}"
            )
    return detectors


def training_images_of(settings: ModelSettings, denoiser: Denoiser) -> TrainingImages | None:
    if settings.train_images is None:
        return None
    descriptor = None
    if settings.descriptor is not None and settings.descriptor_weights is not None:
        descriptor = load_descriptor(settings.descriptor_weights, settings.descriptor, settings.descriptor_sha256)
    return open_training_images(settings.train_images, *picture_size(denoiser), descriptor)


def picture_size(denoiser: Denoiser) -> tuple[int, int]:
    """Height and width of the model's pictures."""
    height, width = (side * denoiser.pipe.vae_scale_factor for side in denoiser.latent_shape[1:])
    return height, width


def _plan(settings: AuditSettings, denoiser: Denoiser) -> Plan:
    return Plan(
        run_seed=settings.seed,
        n_seeds=settings.n_seeds,
        timestep=denoiser.first_timestep(settings.num_inference_steps),
        batch_size=settings.batch_size,
        shard_size=settings.shard_size,
    )


def device_of(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype_of(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.float16
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
