"""Run a comparison: sample the same prompts at the same seeds on a base and a fine-tune, and write what changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from flashbulb.audit.additions.chosen import (
    ChosenModel,
    ComposedModel,
    base_model,
    chosen_model,
    load_chosen,
    model_name,
    only_adds_loras,
)
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.samples import sample_prompts, save_images
from flashbulb.audit.run.directory import RunDirectory, fingerprint_of
from flashbulb.audit.run.lock import check_free
from flashbulb.audit.run.progress import track
from flashbulb.audit.run.shortage import ShrinkingBatches
from flashbulb.audit.run.torch_state import computing, torch_as_started
from flashbulb.audit.settings import CompareSettings, SettingsError
from flashbulb.audit.settings.checks import check_training_images
from flashbulb.audit.stages.claim import former_results
from flashbulb.audit.stages.opening.base import warn_of_other_schedule
from flashbulb.audit.stages.opening.examine import examine_model
from flashbulb.audit.stages.opening.session import load_training_images
from flashbulb.audit.stages.recover import sample_plan
from flashbulb.audit.stages.results.account import library_versions
from flashbulb.audit.stages.results.compared_prompts import choose_prompts
from flashbulb.audit.stages.results.comparison import ComparedPrompts, Sampling, write_comparison
from flashbulb.reports.tables.compare import (
    BASE,
    COMPARE_FILE,
    COMPARE_MARKDOWN,
    COMPARE_PAGE,
    FINETUNE,
    Comparison,
)
from flashbulb.reports.tables.files import MATCHES_DIRECTORY
from flashbulb.reports.tables.run_record import COMPARISON_RUNNING

logger = logging.getLogger(__name__)


class _Compared(NamedTuple):
    """What two models must or should have in common, and the fingerprint, in which they must differ."""

    title: str
    image_size: tuple[int, int]
    schedule: Mapping[str, Any]
    fingerprint: str


@torch_as_started()
def run_comparison(settings: CompareSettings, *, force: bool) -> Comparison:
    """Sample every prompt on both models, one model in memory at a time, and write the results.

    An interrupted comparison is resumed: finished images are kept.

    Raises:
        one of `USAGE_ERRORS` or SettingsError: a mistake in the inputs; nothing is written.
        one of `UNTRUSTED_ERRORS`: a model that cannot be trusted, or an image that is not finite.
    """
    check_free(settings.out)  # before anything takes long
    prompts = _checked_prompts(settings)
    is_inside = only_adds_loras(settings, settings.base)
    base = None if is_inside else _look_at(settings, prompts, _load(settings, base_model(settings, settings.base)))
    loaded = _load(settings, chosen_model(settings))
    finetune = _look_at(settings, prompts, loaded)
    if base is None:
        with loaded.loras.off():
            base = _look_at(settings, prompts, loaded)._replace(fingerprint=loaded.unadapted)
    _check_models(settings, prompts, base, finetune)
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    training = load_training_images(settings, denoiser)
    fingerprints = {BASE: base.fingerprint, FINETUNE: finetune.fingerprint}
    identity = _identity(settings, prompts, loaded, fingerprints)
    former = former_results(COMPARE_FILE, COMPARE_PAGE, COMPARE_MARKDOWN)
    with RunDirectory.open(settings.out, identity, force=force, former=former) as run:
        for page in (COMPARE_PAGE, COMPARE_MARKDOWN):
            (run.path / page).unlink(missing_ok=True)
        run.update(status=COMPARISON_RUNNING)
        if training is not None:
            training.keep_matches(run.path / MATCHES_DIRECTORY)
        sampling = Sampling(settings, prompts, run, fingerprints, sample_plan(settings))
        logger.info("%d prompts, %d left out, results in %s", len(prompts.prompts), prompts.n_left_out, run.path)
        with computing():
            evaluations = {FINETUNE: _sample(sampling, denoiser, FINETUNE)}
            opened = _without_loras(loaded) if is_inside else _loaded_base(settings, base)
            del loaded, denoiser  # one model in memory at a time
            with opened as pipe:
                evaluations[BASE] = _sample(sampling, open_denoiser(pipe, settings.clip_skip), BASE)
        return write_comparison(sampling, training, evaluations)


def _checked_prompts(settings: CompareSettings) -> ComparedPrompts:
    if settings.finetune is None and chosen_model(settings) == base_model(settings, settings.base):
        raise SettingsError(
            f"compare {settings.base} with what? Give the fine-tune after it, or with --lora what to add to it"
        )
    check_training_images(settings)
    return choose_prompts(settings)


def _load(settings: CompareSettings, chosen: ChosenModel) -> ComposedModel:
    return load_chosen(chosen, settings.device, settings.dtype)


def _look_at(settings: CompareSettings, prompts: ComparedPrompts, loaded: ComposedModel) -> _Compared:
    """Examine a model as an audit does, and return what the other one must share."""
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    denoiser.timesteps(settings.sample_steps)  # refuses too many
    examine_model(settings, denoiser, [prompt.text for prompt in prompts.prompts])
    return _Compared(denoiser.title, denoiser.image_size, denoiser.schedule, loaded.fingerprint)


def _check_models(settings: CompareSettings, prompts: ComparedPrompts, base: _Compared, finetune: _Compared) -> None:
    """Refuse models whose images cannot be compared, and an audit of another model."""
    way_out = f"give the model that {settings.model} was fine-tuned from"
    if base.fingerprint == finetune.fingerprint:
        raise SettingsError(f"{settings.base} and {settings.model} are the same model; {way_out}")
    if base.title != finetune.title:
        raise SettingsError(f"{settings.base} is {base.title}, {settings.model} is {finetune.title}; {way_out}")
    if base.image_size != finetune.image_size:
        sizes = ["{1} × {0}".format(*model.image_size) for model in (base, finetune)]
        raise SettingsError(f"{settings.base} gives images of {sizes[0]}, {settings.model} of {sizes[1]}; {way_out}")
    if prompts.fingerprint not in (None, finetune.fingerprint):
        raise SettingsError(
            f"{settings.run} is an audit of {prompts.fingerprint}, {model_name(settings)} is {finetune.fingerprint}; "
            "give the model that was audited, with the same LoRAs"
        )
    warn_of_other_schedule(settings.base, base.schedule, settings.model, finetune.schedule)


def _identity(
    settings: CompareSettings, prompts: ComparedPrompts, loaded: ComposedModel, fingerprints: dict[str, str]
) -> dict[str, Any]:
    chosen = [[prompt.prompt_id, prompt.prompt_id in prompts.controls] for prompt in prompts.prompts]
    return {
        "fingerprints": fingerprints,
        "dtype": loaded.dtype,
        "device": loaded.device,
        "prompts": fingerprint_of({"prompts": chosen}),
        "settings": {"command": "compare", **settings.identity()},
        "versions": library_versions(),
    }


@contextmanager
def _without_loras(loaded: ComposedModel) -> Iterator[Any]:
    """Yield the pipeline, which is the base in this block: it is the fine-tune but for its LoRAs."""
    with loaded.loras.off():
        yield loaded.pipe


@contextmanager
def _loaded_base(settings: CompareSettings, base: _Compared) -> Iterator[Any]:
    """Load the base again, and yield its pipeline; the fine-tune is not kept."""
    loaded = _load(settings, base_model(settings, settings.base))
    if loaded.fingerprint != base.fingerprint:
        raise SettingsError(f"{settings.base} has changed during the comparison; run the command again")
    yield loaded.pipe


def _sample(sampling: Sampling, denoiser: Denoiser, side: str) -> int:
    """Sample the prompts whose images are not on disk, and return what sampling all of them costs, in UE."""
    prompts, plan, settings = sampling.prompts.prompts, sampling.plan, sampling.settings
    missing = [prompt for prompt in prompts if sampling.kept(prompt, side) is None]
    title = "sampling the base" if side == BASE else "sampling the fine-tune"
    batches = ShrinkingBatches(settings.per_call, title)

    def sample(batch_size: int) -> list[RgbImages]:
        batch = missing[: max(1, batch_size // plan.n_samples)]
        return sample_prompts(denoiser, [prompt.text for prompt in batch], plan)

    with track(title, len(prompts), "prompts", done=len(prompts) - len(missing)) as advance:
        while missing:
            sampled = batches.call(sample)
            for prompt, images in zip(missing, sampled, strict=False):
                folder = sampling.run.path / sampling.folder(prompt, side)
                save_images(folder, images, prompt.text, plan, sampling.fingerprints[side])
            missing = missing[len(sampled) :]
            advance(len(sampled))
    return len(prompts) * plan.evaluations(denoiser)
