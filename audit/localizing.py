"""Wire a localization: take a finished audit's memories, find and test their levers, and write what was found."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from audit.config import LocalizeSettings, SettingsError
from audit.denoiser import Denoiser
from audit.denormals import flushed_denormals
from audit.loading import LoadedModel, load_model
from audit.localization_output import write_results
from audit.localize.attribution import AttributionPlan, Attributor, mean_attribution
from audit.localize.effects import SamplingPlan
from audit.localize.kept import load_localized, save_localized
from audit.localize.levers import reference_means
from audit.localize.localizer import LeverPlan, Localizer
from audit.memories import Memory, clean_prompts_of, memories_of
from audit.progress import track
from audit.recover.known_image import MAX_STEPS, KnownImagePlan
from audit.rundir import fingerprint_of
from audit.session import device_of, dtype_of
from hooks import SITE_KINDS, Site, UnknownArchitecture, find_sites
from reports.check import check_tables
from reports.localization import LOCALIZATION_DIRECTORY, LocalizationCounts
from reports.run_record import RunRecord, load_run

logger = logging.getLogger(__name__)

N_CLEAN = 8
"""Clean prompts that controls are taken from."""

N_FOR_MEANS, N_USUAL = 64, 32
"""Clean prompts that mean activations and mean attributions are taken over."""

PULL_RATE, PULL_BATCH = 0.1, 8

_NOT_IN_IDENTITY = {"run", "prompts", "max_prompts", "show_prompts", "allow_pickle", "device", "batch_size"}


def run_localization(settings: LocalizeSettings) -> LocalizationCounts:
    """Localize memories of the audit in `settings.run`; those that were localized with the same settings are kept.

    Raises:
        RunFileError: the run is not a finished audit, or its tables were changed.
        SettingsError: nothing to localize, or a prompt that brought no picture back, or another model.
        ModelError: the model cannot be loaded.
    """
    record = load_run(settings.run)
    check_tables(settings.run, record)
    memories = memories_of(settings.run, settings.prompts, settings.max_prompts)
    loaded = _load(record, settings)
    denoiser = Denoiser(loaded.pipe)
    folder = settings.run / LOCALIZATION_DIRECTORY
    chosen = settings.model_dump(mode="json", exclude=_NOT_IN_IDENTITY)
    identity = fingerprint_of({"model": loaded.fingerprint, "dtype": loaded.dtype, **chosen})
    kept = {memory.prompt_id: load_localized(_path(settings, memory), memory, identity) for memory in memories}
    missing = [memory for memory in memories if kept[memory.prompt_id] is None]
    logger.info("%d memories, %d of them localized before", len(memories), len(memories) - len(missing))
    if missing:
        started = time.monotonic()
        with flushed_denormals(), track("localizing", len(missing), "memories") as advance:
            localizer = _localizer(settings, denoiser, record, loaded.fingerprint)
            for memory in missing:
                localized = localizer.localize(memory)
                save_localized(_path(settings, memory), localized, identity)
                kept[memory.prompt_id] = localized
                advance()
        logger.info("localized in %.0f s, %d UE", time.monotonic() - started, denoiser.evaluations)
    found = [kept[memory.prompt_id] for memory in memories]
    return write_results(folder, [one for one in found if one is not None], settings, denoiser, loaded.fingerprint)


def _path(settings: LocalizeSettings, memory: Memory) -> Path:
    return settings.run / LOCALIZATION_DIRECTORY / "kept" / f"{memory.prompt_id}.safetensors"


def _load(record: RunRecord, settings: LocalizeSettings) -> LoadedModel:
    device = device_of(settings.device)
    dtype = dtype_of(str(record.settings.get("dtype", "auto")), device)
    model = str(record.settings["model"])
    loaded = load_model(model, device=device, dtype=dtype, allow_pickle=settings.allow_pickle)
    if loaded.fingerprint != record.model.fingerprint:
        raise SettingsError(
            f"{model} has fingerprint {loaded.fingerprint}, the run audited {record.model.fingerprint}; "
            "audit the model anew"
        )
    return loaded


def _localizer(settings: LocalizeSettings, denoiser: Denoiser, record: RunRecord, fingerprint: str) -> Localizer:
    levers = find_sites(denoiser.pipe, [settings.kind])
    timestep = denoiser.first_timestep(int(str(record.settings["num_inference_steps"])))
    clean = clean_prompts_of(settings.run, max(N_FOR_MEANS, N_CLEAN), settings.seed)
    if not clean:
        raise SettingsError(
            f"every prompt of {settings.run} is flagged, and levers are told by what clean prompts do not need; "
            "audit more prompts"
        )
    means = None
    if settings.by == "mean":
        means = reference_means(denoiser, levers, clean, timestep, settings.seed, settings.batch_size)
    n = settings.n_samples
    sampling = SamplingPlan(settings.seed, n, settings.sample_steps, settings.guidance_scale, first_index=n)
    plan = LeverPlan(
        share=settings.share,
        n_checks=settings.n_checks if settings.minimal else 0,
        by=settings.by,
        sampling=sampling,
        n_controls=settings.n_controls,
        pull=KnownImagePlan(settings.seed, MAX_STEPS, PULL_RATE, PULL_BATCH) if settings.again else None,
    )
    attribution = AttributionPlan(settings.seed, timestep, settings.n_seeds, settings.n_points, settings.batch_size)
    attributor = Attributor(denoiser, _recordable(denoiser), attribution)
    usual = mean_attribution(attributor.attribute(clean[-N_USUAL:]))
    controls = clean[: N_CLEAN if settings.n_controls else 0]
    return Localizer(denoiser, levers, attributor, controls, usual, means, plan, fingerprint)


def _recordable(denoiser: Denoiser) -> Sequence[Site]:
    """Every site of the model, of whatever kinds it has."""
    sites: list[Site] = []
    for kind in SITE_KINDS:
        try:
            sites += find_sites(denoiser.pipe, [kind])
        except UnknownArchitecture:
            logger.info("the model has no %s sites", kind)
    return sites
