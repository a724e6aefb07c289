"""What an audit is given, checked and loaded: settings, model, sites, prompts, detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from audit.account import Inputs, library_versions
from audit.calibration import MIN_REFERENCE
from audit.config import DEFAULT_DETECTORS, AuditSettings, ModelSettings, SettingsError
from audit.denoiser import Denoiser
from audit.detectors import Detector, NeuronDetector, StepDetector, available
from audit.loading import load_model
from audit.prompts import PromptSet
from audit.recording import Plan, Recorder, estimate_bytes
from audit.saved_calibration import open_calibration
from audit.training.descriptors import load_descriptor
from audit.training_images import TrainingImages, open_training_images
from hooks import PROMPT_SITE_KINDS, find_sites
from reports.policy import read_policy
from reports.waivers import read_waivers

_NOT_IN_IDENTITY = {
    *("model", "prompts", "reference", "calibration", "out"),  # known by their hashes, or where results go
    *("show_prompts", "device", "allow_pickle", "max_store_gib", "descriptor_weights", "strict"),
    *("policy", "waivers"),  # they judge what was found
}
_RECORDING_SETTINGS = {"sites", "detectors", "n_seeds", "seed", "num_inference_steps"}


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded model with what is to be done to it."""

    inputs: Inputs
    denoiser: Denoiser
    detectors: tuple[Detector, ...]
    recorder_plan: Plan

    def recorder(self) -> Recorder:
        chosen = [detector for detector in self.detectors if isinstance(detector, StepDetector)]
        return Recorder(self.denoiser, self.inputs.sites, chosen, self.recorder_plan)


def load_session(
    settings: AuditSettings, candidates: PromptSet, reference: PromptSet | None, detectors: tuple[Detector, ...]
) -> Session:
    policy, waivers = read_policy(settings.policy), read_waivers(settings.waivers)
    device = device_of(settings.device)
    dtype = dtype_of(settings.dtype, device)
    loaded = load_model(settings.model, device=device, dtype=dtype, allow_pickle=settings.allow_pickle)
    denoiser = Denoiser(loaded.pipe)
    sites = find_sites(loaded.pipe, settings.sites)
    inputs = Inputs(settings, loaded, sites, candidates, reference, None, policy, waivers)
    if settings.calibration is not None:
        saved = open_calibration(settings.calibration, calibration_identity_of(inputs))
        inputs = replace(inputs, reference=saved.prompts, saved=saved.recorded)
    return Session(inputs, denoiser, detectors, _plan(settings, denoiser))


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


def check_reference_size(reference: PromptSet) -> None:
    if len(reference.prompts) < MIN_REFERENCE:
        raise SettingsError(
            f"calibration needs at least {MIN_REFERENCE} distinct prompts, {reference.source} has "
            f"{len(reference.prompts)}; give more with --reference"
        )


def check_tiers(settings: AuditSettings) -> None:
    if settings.tiers == "full":
        return
    if settings.reference is None and settings.calibration is None:
        raise SettingsError("--tiers screened learns from a reference; give --reference or --calibration")
    if not PROMPT_SITE_KINDS.intersection(settings.sites):
        raise SettingsError(f"--tiers screened needs one of --sites {', '.join(sorted(PROMPT_SITE_KINDS))}")


def check_strategies(settings: AuditSettings) -> None:
    """Every strategy that was chosen has what it needs."""
    if "sample" not in settings.strategies:
        raise SettingsError("--strategy: every ladder starts with sample; add it")
    if "known_image" in settings.strategies and settings.train_images is None:
        raise SettingsError("--strategy known_image pulls at training pictures; give --train-images")
    if "ascend" in settings.strategies and settings.ascend_kind not in settings.sites:
        raise SettingsError(
            f"--strategy ascend climbs {settings.ascend_kind} neurons; add --sites {settings.ascend_kind}, "
            "or leave ascend out with --strategy sample"
        )


def check_store_size(inputs: Inputs) -> None:
    """Refuse to fill a disk: dense activations of a large model and many prompts run into terabytes."""
    settings = inputs.settings
    to_record = [p for p in (inputs.candidates, None if inputs.saved else inputs.reference) if p is not None]
    n_prompts = sum(len(prompts.prompts) for prompts in to_record)
    gib = estimate_bytes(inputs.sites, settings.n_seeds, n_prompts) / 2**30
    if gib > settings.max_store_gib:
        raise SettingsError(
            f"recording {n_prompts} prompts would take up to {gib:.1f} GiB, the limit is {settings.max_store_gib:g}; "
            "use --sites feed_forward, fewer --seeds or fewer prompts, or raise --max-store-gib"
        )


def check_training_images(settings: ModelSettings) -> None:
    source = settings.train_images
    if source is not None and not source.exists():
        raise SettingsError(f"no {source}; give --train-images a folder, a .tar or an index of training pictures")
    if (settings.descriptor is None) != (settings.descriptor_weights is None):
        raise SettingsError("--descriptor and --descriptor-weights belong together; give both or neither")
    if settings.descriptor is not None and source is None:
        raise SettingsError("--descriptor compares with training pictures; give --train-images")


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


def identity_of(inputs: Inputs) -> dict[str, Any]:
    """Everything that shapes the results, for telling one audit from another."""
    return {
        "model_fingerprint": inputs.loaded.fingerprint,
        "dtype": inputs.loaded.dtype,
        "device": inputs.loaded.device,
        "prompts_sha256": inputs.candidates.sha256,
        "reference_sha256": inputs.reference.sha256 if inputs.reference else None,
        "settings": inputs.settings.model_dump(mode="json", exclude=_NOT_IN_IDENTITY),
        "versions": library_versions(),
    }


def calibration_identity_of(inputs: Inputs) -> dict[str, Any]:
    """What the recording of a reference depends on, the prompts themselves apart."""
    return {
        "model": inputs.loaded.fingerprint,
        "dtype": inputs.loaded.dtype,
        "settings": inputs.settings.model_dump(mode="json", include=_RECORDING_SETTINGS),
        "versions": library_versions(),
    }


def device_of(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype_of(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.float16
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
