"""Run an ablation: sample prompts before and after ablating the neurons of a file, and write what changed."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from flashbulb.audit.additions.chosen import chosen_model, load_chosen, model_name
from flashbulb.audit.images.distances import seed_agreement, seed_diversity, tile_distances
from flashbulb.audit.images.png import save_image
from flashbulb.audit.localize.ablated_samples import PromptSamples, sample_and_measure
from flashbulb.audit.model.calls import check_clip_skip, embeds_guidance, planned_timesteps
from flashbulb.audit.model.families import family_of_pipe, open_denoiser
from flashbulb.audit.model.loading.pipelines import LoadedModel
from flashbulb.audit.recover.samples import SamplePlan, image_name
from flashbulb.audit.run.directory import RunDirectory, fingerprint_of
from flashbulb.audit.run.progress import track
from flashbulb.audit.run.shortage import ShrinkingBatches
from flashbulb.audit.run.torch_state import computing, torch_as_started
from flashbulb.audit.settings import AblateSettings, SettingsError
from flashbulb.audit.stages.kept.identity import command_identity
from flashbulb.audit.stages.opening.examine import examine_model
from flashbulb.audit.stages.recover import sample_plan
from flashbulb.audit.stages.results.account import library_versions
from flashbulb.hooks import NeuronSet, ablate, load_neurons, sites_of
from flashbulb.hooks.ablate import check_by
from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.figures.ablation import ablation_panel
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, SCHEMA_VERSION, sha256_of, write_text
from flashbulb.reports.tables.run_record import ABLATION, ABLATION_RUNNING, ModelIdentity
from flashbulb.reports.views.ablation import (
    ABLATION_FILE,
    ABLATION_PAGE,
    PANELS_DIRECTORY,
    AblationRecord,
    NeuronsIdentity,
    effect_of,
    finished_rows,
    write_effects,
)
from flashbulb.reports.views.ablation_markdown import ablation_markdown
from flashbulb.reports.views.ablation_terminal import print_ablation
from flashbulb.reports.views.terminal import SummaryConsole

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Ablation:
    """A loaded model, the neurons to ablate in it, and where the results go."""

    settings: AblateSettings
    loaded: LoadedModel
    neurons: NeuronSet
    neurons_sha256: str
    evaluations_per_image: int
    plan: SamplePlan
    run: RunDirectory


@torch_as_started()
def run_ablation(settings: AblateSettings, *, force: bool) -> AblationRecord:
    """Sample every prompt before and after ablating, write the results and print them.

    An interrupted ablation is resumed: finished prompts are kept.

    Raises:
        one of `USAGE_ERRORS` or SettingsError: a mistake in the inputs; nothing is written.
        one of `UNTRUSTED_ERRORS`: a site did not fire, or an image is not finite.
    """
    neurons = _read_neurons(settings)
    loaded = load_chosen(chosen_model(settings), settings.device, settings.dtype)
    _check_model(settings, neurons, loaded)
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    examine_model(settings, denoiser, settings.prompt)
    if cut := denoiser.find_truncated(settings.prompt):
        logger.warning("the text encoder does not read %s to the end", count_text(len(cut), "prompt"))
    per_image = denoiser.evaluations_per_image(settings.sample_steps, settings.guidance_scale)
    sha256 = sha256_of(settings.neurons)
    with RunDirectory.open(settings.out, _identity(settings, loaded, sha256), force=force) as run:
        run.update(status=ABLATION_RUNNING)
        logger.info("%s (%s, %s on %s)", model_name(settings), loaded.fingerprint, loaded.dtype, loaded.device)
        logger.info("%d neurons of %d sites, results in %s", neurons.n_neurons, len(neurons.neurons), run.path)
        ablation = _Ablation(settings, loaded, neurons, sha256, per_image, sample_plan(settings), run)
        with computing():
            rows = _ablate_prompts(ablation)
        return _write_results(ablation, rows)


def _read_neurons(settings: AblateSettings) -> NeuronSet:
    path = settings.neurons
    try:
        neurons = load_neurons(path)
        check_by(neurons, settings.by)
    except OSError as error:
        raise SettingsError(
            f"--neurons {path} cannot be read: {error.strerror or error}; give a file that hooks.save_neurons wrote"
        ) from error
    except ValueError as error:
        raise SettingsError(f"--neurons: {error}") from error
    if settings.guidance_scale == 1:
        _refuse_unguided(settings, neurons, "--guidance-scale 1 never computes; give more than 1")
    return neurons


def _refuse_unguided(settings: AblateSettings, neurons: NeuronSet, why: str) -> None:
    """Refuse to replace UNet neurons by the unconditional half of a call that has none.

    Neurons of a text encoder are accepted: the empty prompt is encoded in any case.
    """
    if settings.by == "unconditional" and any(name.startswith("unet.") for name in neurons.neurons):
        raise SettingsError(f"--by unconditional needs the unconditional half, which {why}, or --by mean or zero")


def _check_model(settings: AblateSettings, neurons: NeuronSet, loaded: LoadedModel) -> None:
    """Refuse a model that the neurons do not belong to, or whose family is not ablated yet."""
    if (family := family_of_pipe(loaded.pipe)) is not None:
        family.require("ablate")
    if neurons.fingerprint not in (None, loaded.fingerprint):
        raise SettingsError(
            f"{settings.neurons} is for the model {neurons.fingerprint}, {model_name(settings)} is "
            f"{loaded.fingerprint}; give that model, or neurons found in this one"
        )
    try:
        sites_of(loaded.pipe, neurons)
    except ValueError as error:
        raise SettingsError(f"{settings.neurons}: {error}") from error
    check_clip_skip(loaded.pipe, settings.clip_skip)
    planned_timesteps(loaded.pipe, settings.sample_steps)  # refuses too many
    if embeds_guidance(loaded.pipe):
        _refuse_unguided(settings, neurons, "this distilled model never computes; give another model")


def _identity(settings: AblateSettings, loaded: LoadedModel, neurons_sha256: str) -> dict[str, Any]:
    return {**command_identity("ablate", settings, loaded), "neurons_sha256": neurons_sha256}


def _ablate_prompts(ablation: _Ablation) -> list[dict[str, Any]]:
    """Sample the unfinished prompts and return the rows of all, in order; the table is written after each batch."""
    settings, pipe, path = ablation.settings, ablation.loaded.pipe, ablation.run.path
    footer = {
        "model_fingerprint": ablation.loaded.fingerprint,
        "neurons_sha256": ablation.neurons_sha256,
        "identity": fingerprint_of(_identity(settings, ablation.loaded, ablation.neurons_sha256)),
    }
    rows_by_id = finished_rows(path, footer)
    ids = {prompt: hashlib.sha256(prompt.encode()).hexdigest()[:16] for prompt in settings.prompt}
    unfinished = [prompt for prompt in settings.prompt if ids[prompt] not in rows_by_id]
    skipped = {} if settings.clip_skip is None else {"clip_skip": settings.clip_skip}
    batches = ShrinkingBatches(settings.per_call, "sampling")

    def sample(batch_size: int) -> list[tuple[PromptSamples, PromptSamples]]:
        batch = unfinished[: max(1, batch_size // settings.n_samples)]
        call = partial(sample_and_measure, pipe, batch, ablation.plan, batch_size, **skipped)
        before = call()
        with ablate(pipe, ablation.neurons, settings.by):
            return list(zip(before, call(), strict=True))

    with track("ablating", len(ids), "prompts", done=len(ids) - len(unfinished)) as advance:
        while unfinished:
            sampled = batches.call(sample)
            for prompt, (sampled_before, sampled_after) in zip(unfinished, sampled, strict=False):
                rows_by_id[ids[prompt]] = _save_prompt(ablation, ids[prompt], prompt, sampled_before, sampled_after)
            rows = [row for prompt_id in ids.values() for row in rows_by_id.get(prompt_id, [])]
            write_effects(path, rows, footer)
            unfinished = unfinished[len(sampled) :]
            advance(len(sampled))
    return [row for prompt_id in ids.values() for row in rows_by_id[prompt_id]]


def _save_prompt(
    ablation: _Ablation, prompt_id: str, prompt: str, before: PromptSamples, after: PromptSamples
) -> list[dict[str, Any]]:
    """Write the images and the panel of a prompt, and return its rows of the table: one for each seed."""
    path, folder = ablation.run.path, f"{IMAGES_DIRECTORY}/{prompt_id}"
    for name, sampled in (("before", before), ("after", after)):
        for index, image in enumerate(sampled.images):
            metadata = _image_metadata(ablation, prompt, index, is_ablated=name == "after")
            save_image(path / folder / name / image_name(index), image, metadata)
    across_seeds = {
        "seed_diversity_before": seed_diversity(before.images),
        "seed_diversity_after": seed_diversity(after.images),
        "seed_agreement_before": seed_agreement(before.images),
        "seed_agreement_after": seed_agreement(after.images),
    }
    rows = [
        {
            "prompt_id": prompt_id,
            "prompt": prompt,
            "image_index": index,
            "tile_distance": float(tile_distances(after.images[index : index + 1], before.images[index])[0]),
            **across_seeds,
            "response_norm_before": before.response_norms[index],
            "response_norm_after": after.response_norms[index],
            "before_path": f"{folder}/before/{image_name(index)}",
            "after_path": f"{folder}/after/{image_name(index)}",
            "panel_path": f"{PANELS_DIRECTORY}/{prompt_id}.png",
        }
        for index in range(len(before.images))
    ]
    (path / PANELS_DIRECTORY).mkdir(exist_ok=True)
    ablation_panel(effect_of(rows), path)
    return rows


def _image_metadata(ablation: _Ablation, prompt: str, image_index: int, *, is_ablated: bool) -> dict[str, Any]:
    """Return the metadata of an image: everything it was made from."""
    ablated = {"neurons_sha256": ablation.neurons_sha256, "by": ablation.settings.by}
    return {
        "prompt": prompt,
        **asdict(ablation.plan),
        "image_index": image_index,
        "fingerprint": ablation.loaded.fingerprint,
        "ablated": ablated if is_ablated else None,
    }


def _write_results(ablation: _Ablation, rows: list[dict[str, Any]]) -> AblationRecord:
    """Write the page and run.json, and print the effects."""
    settings, neurons, path = ablation.settings, ablation.neurons, ablation.run.path
    spent = len(settings.prompt) * settings.n_samples * ablation.evaluations_per_image
    record = AblationRecord(
        schema_version=SCHEMA_VERSION,
        status=ABLATION,
        model=ModelIdentity(model_name(settings), ablation.loaded.fingerprint),
        neurons=NeuronsIdentity(
            str(settings.neurons), ablation.neurons_sha256, len(neurons.neurons), neurons.n_neurons, neurons.fingerprint
        ),
        settings=settings.model_dump(mode="json"),
        n_prompts=len(settings.prompt),
        evaluations={"before": spent, "after": spent},
        versions=library_versions(),
        tables={ABLATION_FILE: sha256_of(path / ABLATION_FILE)},
    )
    effects = [effect_of(rows[i : i + settings.n_samples]) for i in range(0, len(rows), settings.n_samples)]
    write_text(path / ABLATION_PAGE, ablation_markdown(record, effects))
    ablation.run.update(**asdict(record))
    print_ablation(SummaryConsole(), record, effects, path)
    return record
