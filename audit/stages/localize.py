"""Run a localization: find and test the neurons behind the recovered images of a finished audit."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from flashbulb.audit.additions.chosen import ChosenModel, load_chosen
from flashbulb.audit.images.png import pixel_key
from flashbulb.audit.localize.attribution import AttributionPlan, Attributor, average_neurons
from flashbulb.audit.localize.effects import EffectPlan
from flashbulb.audit.localize.localizer import LocalizationPlan, LocalizedMemory, Localizer, controls_of
from flashbulb.audit.localize.memories import Memory, draw_clean_prompts, read_memories
from flashbulb.audit.localize.selection import measure_reference_means
from flashbulb.audit.localize.store import load_localized, save_localized
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import LoadedModel
from flashbulb.audit.pull.pulling import PullPlan
from flashbulb.audit.run.directory import fingerprint_of
from flashbulb.audit.run.lock import hold_directory
from flashbulb.audit.run.progress import track
from flashbulb.audit.run.torch_state import computing, torch_as_started
from flashbulb.audit.settings import MOST_CONTROLS, LocalizeSettings, SettingsError
from flashbulb.audit.stages.results.localization import write_localization_results
from flashbulb.audit.stores.fetching import fetched
from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.tables.files import RunFileError, RunIncompleteError
from flashbulb.reports.tables.run_record import RunRecord, load_run
from flashbulb.reports.views.localization import LOCALIZATION_DIRECTORY, LocalizationCounts

logger = logging.getLogger(__name__)

N_FOR_MEANS, N_FOR_ATTRIBUTION = 64, 32
"""Number of clean prompts for mean activations and for the mean attribution."""

RECOVERY_STEPS, RECOVERY_RATE = 28, 0.15
RECOVERY_RADIUS, RECOVERY_LOWEST, RECOVERY_HIGHEST = 1.0, 0.6, 0.99
"""How the ablated model is pulled at, see `PullPlan`; chosen on a planted model (docs/localization.md)."""


@torch_as_started()
def run_localization(settings: LocalizeSettings) -> LocalizationCounts:
    """Localize the memorized images that the audit in `settings.run` recovered, and return the counts.

    Images that were localized with the same settings are not localized again.

    Raises:
        RunFileError: the run is not a finished audit, its tables were changed, or another process writes into it.
        MemoriesError: the audit recovered no image, or none for a prompt in `settings.prompts`.
        SettingsError: the model has changed since the audit, or every prompt is flagged.
        ModelError: the model cannot be loaded.
    """
    load_run(settings.run)  # a folder that is no finished audit is not locked
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_directory(settings.run))
        except OSError as error:
            reason = f"{settings.run} cannot be written: {error.strerror or error}; localize a copy of it"
            raise RunFileError(reason) from error
        return _localize(settings)


def _localize(settings: LocalizeSettings) -> LocalizationCounts:
    record = load_checked(settings.run).record
    memories = read_memories(settings.run, settings.prompts, settings.max_prompts)
    loaded = _load(record, settings)
    clip_skip = None if record.settings.get("clip_skip") is None else _count(record, "clip_skip")
    denoiser = open_denoiser(loaded.pipe, clip_skip)
    denoiser.require("localize")
    _check_sizes(memories, denoiser, settings)
    if not denoiser.is_guided(settings.guidance_scale):
        raise SettingsError(
            f"{record.model.name} is distilled and never evaluates the empty prompt, which localization compares with; "
            "localize in the model that it was distilled from"
        )
    folder = settings.run / LOCALIZATION_DIRECTORY
    clean = draw_clean_prompts(settings.run, max(N_FOR_MEANS, MOST_CONTROLS), settings.seed)
    timestep = denoiser.first_timestep(_count(record, "num_inference_steps"))
    if not clean:
        raise SettingsError(
            f"every prompt of {settings.run} is flagged, and localization compares with unflagged ones; "
            "audit more prompts"
        )
    # an audit that is made again in this directory can recover another image of a prompt, and flag other prompts
    made_from = {"clip_skip": clip_skip, "timestep": timestep, "clean": clean, **settings.identity()}
    common = fingerprint_of({"model": loaded.fingerprint, "dtype": loaded.dtype, **made_from})
    identities = {memory.prompt_id: f"{common} {pixel_key(memory.image)}" for memory in memories}
    localized: dict[str, LocalizedMemory] = {}
    for memory in memories:
        if (result := load_localized(_path(settings, memory), memory, identities[memory.prompt_id])) is not None:
            localized[memory.prompt_id] = result
    missing = [memory for memory in memories if memory.prompt_id not in localized]
    logger.info("%d recovered images, %d already localized", len(memories), len(memories) - len(missing))
    if missing:
        started = time.monotonic()
        with computing(), track("localizing", len(missing), "images") as advance:
            localizer = _localizer(settings, denoiser, clean, timestep, loaded.fingerprint)
            for memory in missing:
                result = localizer.localize(memory)
                save_localized(_path(settings, memory), result, identities[memory.prompt_id])
                localized[memory.prompt_id] = result
                advance()
        logger.info("localized in %.0f s, %d UE", time.monotonic() - started, denoiser.evaluations)
    results = [localized[memory.prompt_id] for memory in memories]
    shared = _shared_evaluations(settings, denoiser, clean, memories)
    return write_localization_results(folder, results, settings, denoiser, loaded.fingerprint, shared)


def _shared_evaluations(
    settings: LocalizeSettings, denoiser: Denoiser, clean: Sequence[str], memories: Sequence[Memory]
) -> int:
    """Return the UE spent once for all memories: the attribution, the means and the samples of clean prompts."""
    attribution = _attribution_plan(settings, 0)
    attributed = attribution.evaluations * len(clean[-N_FOR_ATTRIBUTION:]) + attribution.n_seeds  # of the empty prompt
    pool = clean[:MOST_CONTROLS]
    controls = {prompt for memory in memories for prompt in controls_of(memory, pool, settings.n_controls)}
    sampled = len(controls) * _sampling(settings).evaluations(denoiser)
    return attributed + sampled + (len(clean) if settings.by == "mean" else 0)


def _path(settings: LocalizeSettings, memory: Memory) -> Path:
    return settings.run / LOCALIZATION_DIRECTORY / "kept" / f"{memory.prompt_id}.safetensors"


def _load(record: RunRecord, settings: LocalizeSettings) -> LoadedModel:
    chosen = _chosen(record, settings)
    loaded = load_chosen(chosen, settings.device, str(record.settings.get("dtype", "auto")))
    if loaded.fingerprint != record.model.fingerprint:
        raise SettingsError(
            f"{chosen.model} has fingerprint {loaded.fingerprint}, the run audited {record.model.fingerprint}; "
            "audit this model again"
        )
    return loaded


def _chosen(record: RunRecord, settings: LocalizeSettings) -> ChosenModel:
    """Return the model that the run audited; the run may be a stranger's."""
    saved = record.settings
    names = ("configs", "denoiser", "vae")
    configs, denoiser, vae = (Path(fetched(str(saved[name]))) if saved.get(name) else None for name in names)
    tokens, loras = (_files(record, name) for name in ("textual_inversion", "lora"))
    files = (configs, denoiser, vae, tokens, loras)
    return ChosenModel(fetched(str(saved.get("model"))), *files, settings.allow_pickle, settings.offload)


def _files(record: RunRecord, name: str) -> tuple[str, ...]:
    files = record.settings.get(name) or []
    if not isinstance(files, list):
        raise RunIncompleteError(f"run.json records {files!r} as {name}, expected a list of files; run the audit again")
    return tuple(map(str, files))


def _count(record: RunRecord, name: str) -> int:
    """Return a setting of the audit that is a number above 0."""
    value = record.settings.get(name)
    if type(value) is not int or value < 1:
        raise RunIncompleteError(
            f"run.json records {value!r} as {name}, expected a number above 0; run the audit again"
        )
    return value


def _check_sizes(memories: Sequence[Memory], denoiser: Denoiser, settings: LocalizeSettings) -> None:
    for memory in memories:
        if (size := memory.image.shape[:2]) != denoiser.image_size:
            raise RunIncompleteError(
                f"{settings.run}: the recovered image of {memory.prompt_id} has {size} pixels, the model's images "
                f"{denoiser.image_size}; run the audit again"
            )


def recovery_plan(settings: LocalizeSettings) -> PullPlan:
    """Return how an image is recovered from the ablated model, and how what comes is sampled."""
    return PullPlan(
        run_seed=settings.seed,
        n_steps=RECOVERY_STEPS,
        learning_rate=RECOVERY_RATE,
        radius=RECOVERY_RADIUS,
        lowest=RECOVERY_LOWEST,
        highest=RECOVERY_HIGHEST,
        n_samples=settings.n_samples,
        sample_steps=settings.sample_steps,
        guidance_scale=settings.guidance_scale,
        batch_size=settings.n_samples,
        checkpointing=False,
    )


def _sampling(settings: LocalizeSettings) -> EffectPlan:
    n = settings.n_samples
    return EffectPlan(settings.seed, n, settings.sample_steps, settings.guidance_scale, first_index=n)


def _attribution_plan(settings: LocalizeSettings, timestep: float) -> AttributionPlan:
    return AttributionPlan(settings.seed, timestep, settings.n_seeds, settings.n_points, settings.per_call)


def _localizer(
    settings: LocalizeSettings, denoiser: Denoiser, clean: Sequence[str], timestep: float, fingerprint: str
) -> Localizer:
    sites = denoiser.sites([settings.kind])
    means = None
    if settings.by == "mean":
        means = measure_reference_means(denoiser, sites, clean, timestep, settings.seed, settings.per_call)
    plan = LocalizationPlan(
        share=settings.share,
        n_checks=settings.n_checks if settings.minimal else 0,
        by=settings.by,
        sampling=_sampling(settings),
        n_controls=settings.n_controls,
        recovery=recovery_plan(settings) if settings.again else None,
    )
    attributor = Attributor(denoiser, denoiser.sites(denoiser.site_kinds()), _attribution_plan(settings, timestep))
    clean_attribution = average_neurons(attributor.attribute(clean[-N_FOR_ATTRIBUTION:]))
    controls = clean[: MOST_CONTROLS if settings.n_controls else 0]
    return Localizer(denoiser, sites, attributor, controls, clean_attribution, means, plan, fingerprint)
