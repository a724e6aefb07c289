"""Wire an ablation: sample prompts with and without the neurons of a file, and write what changed."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass
from typing import Any

from audit.ablated_samples import Sampled, ablated_pipe, sample_seeds
from audit.account import display_name, library_versions
from audit.config import AblateSettings, SettingsError
from audit.denormals import flushed_denormals
from audit.evidence import seed_agreement, seed_diversity, tile_distances
from audit.loading import LoadedModel, load_model
from audit.progress import track
from audit.recover.sample import SamplePlan, picture_name, save_picture
from audit.rundir import RunDirectory
from audit.session import device_of, dtype_of
from hooks import NeuronSet, load_neurons, sites_of
from hooks.ablate import check_by
from reports.ablation import (
    ABLATION,
    ABLATION_FILE,
    ABLATION_PAGE,
    ABLATION_RUNNING,
    PANELS_DIRECTORY,
    AblationRecord,
    NeuronsIdentity,
    effect_of,
    finished_rows,
    write_effects,
)
from reports.ablation_markdown import ablation_markdown
from reports.ablation_panel import ablation_panel
from reports.ablation_terminal import print_ablation
from reports.console import SummaryConsole
from reports.files import IMAGES_DIRECTORY, SCHEMA_VERSION, sha256_of, write_text
from reports.run_record import ModelIdentity

logger = logging.getLogger(__name__)

_NOT_IN_IDENTITY = {
    *("model", "neurons", "out"),  # known by their hashes, or where results go
    *("device", "allow_pickle", "batch_size"),
}


@dataclass(frozen=True, slots=True)
class _Ablation:
    """A loaded model, the neurons to ablate in it, and where the results go."""

    settings: AblateSettings
    loaded: LoadedModel
    neurons: NeuronSet
    neurons_sha256: str
    run: RunDirectory

    @property
    def plan(self) -> SamplePlan:
        settings = self.settings
        return SamplePlan(settings.seed, settings.n_samples, settings.sample_steps, settings.guidance_scale)


def run_ablation(settings: AblateSettings, *, force: bool) -> AblationRecord:
    """Sample every prompt that is not done yet before and after ablating, write the results and print them.

    Raises:
        one of `audit.stages.USAGE_ERRORS` or SettingsError for a mistake in the inputs, before anything is written.
        one of `audit.stages.UNTRUSTED_ERRORS`: a site did not fire, or a picture is not finite.
    """
    neurons = _read_neurons(settings)
    device = device_of(settings.device)
    dtype = dtype_of(settings.dtype, device)
    loaded = load_model(settings.model, device=device, dtype=dtype, allow_pickle=settings.allow_pickle)
    _check_model(settings, neurons, loaded)
    sha256 = sha256_of(settings.neurons)
    run = RunDirectory.open(settings.out, _identity(settings, loaded, sha256), force=force)
    run.update(status=ABLATION_RUNNING)
    logger.info("%s (%s, %s on %s)", display_name(settings.model), loaded.fingerprint, loaded.dtype, loaded.device)
    logger.info("%d neurons of %d sites, results in %s", neurons.n_neurons, len(neurons.neurons), run.path)
    ablation = _Ablation(settings, loaded, neurons, sha256, run)
    with flushed_denormals():
        rows = _ablate_prompts(ablation)
    return _write_results(ablation, rows)


def _read_neurons(settings: AblateSettings) -> NeuronSet:
    path = settings.neurons
    try:
        neurons = load_neurons(path)
        check_by(neurons, settings.by)
    except OSError as error:
        raise SettingsError(
            f"--neurons {path} cannot be read: {error.strerror or error}; give a file as hooks.save_neurons writes it"
        ) from error
    except ValueError as error:
        raise SettingsError(f"--neurons: {error}") from error
    if settings.guidance_scale == 1:
        _refuse_unguided(settings, neurons, "--guidance-scale 1 never computes; give more than 1")
    return neurons


def _refuse_unguided(settings: AblateSettings, neurons: NeuronSet, why: str) -> None:
    """Refuse to ablate in the UNet by a half that is not there; a text encoder has the empty prompt anyway."""
    if settings.by == "unconditional" and any(name.startswith("unet.") for name in neurons.neurons):
        raise SettingsError(f"--by unconditional needs the unconditional half, which {why}, or --by mean or zero")


def _check_model(settings: AblateSettings, neurons: NeuronSet, loaded: LoadedModel) -> None:
    """Refuse a model that the neurons cannot belong to."""
    if neurons.fingerprint not in (None, loaded.fingerprint):
        raise SettingsError(
            f"{settings.neurons} is for the model {neurons.fingerprint}, {display_name(settings.model)} is "
            f"{loaded.fingerprint}; give that model, or neurons found in this one"
        )
    try:
        sites_of(loaded.pipe, neurons)
    except ValueError as error:
        raise SettingsError(f"{settings.neurons}: {error}") from error
    if loaded.pipe.unet.config.time_cond_proj_dim is not None:  # diffusers guides these by an embedding instead
        _refuse_unguided(settings, neurons, "this distilled model never computes; give another model")


def _identity(settings: AblateSettings, loaded: LoadedModel, neurons_sha256: str) -> dict[str, Any]:
    return {
        "model_fingerprint": loaded.fingerprint,
        "dtype": loaded.dtype,
        "device": loaded.device,
        "neurons_sha256": neurons_sha256,
        "settings": {"command": "ablate", **settings.model_dump(mode="json", exclude=_NOT_IN_IDENTITY)},
        "versions": library_versions(),
    }


def _ablate_prompts(ablation: _Ablation) -> list[dict[str, Any]]:
    """Rows of all prompts, in their order; the table is written after each call that brought some."""
    settings, pipe, path = ablation.settings, ablation.loaded.pipe, ablation.run.path
    ablated = ablated_pipe(pipe, ablation.neurons, settings.by, settings.engine)
    done = finished_rows(path)
    ids = {prompt: hashlib.sha256(prompt.encode()).hexdigest()[:16] for prompt in settings.prompt}
    left = [prompt for prompt in settings.prompt if ids[prompt] not in done]
    footer = {"model_fingerprint": ablation.loaded.fingerprint, "neurons_sha256": ablation.neurons_sha256}
    per_call = max(1, settings.batch_size // settings.n_samples)
    with track("ablating", len(ids), "prompts", done=len(ids) - len(left)) as advance:
        for first in range(0, len(left), per_call):
            group = left[first : first + per_call]
            before = sample_seeds(pipe, pipe, group, ablation.plan, settings.batch_size)
            after = sample_seeds(pipe, ablated, group, ablation.plan, settings.batch_size)
            for prompt, was, became in zip(group, before, after, strict=True):
                done[ids[prompt]] = _keep_prompt(ablation, ids[prompt], prompt, was, became)
            rows = [row for prompt_id in ids.values() for row in done.get(prompt_id, [])]
            write_effects(path, rows, footer)
            advance(len(group))
    return [row for prompt_id in ids.values() for row in done[prompt_id]]


def _keep_prompt(
    ablation: _Ablation, prompt_id: str, prompt: str, before: Sampled, after: Sampled
) -> list[dict[str, Any]]:
    """Write the pictures and the panel of a prompt; its rows of the table, one a seed."""
    path = ablation.run.path
    folder = f"{IMAGES_DIRECTORY}/{prompt_id}"
    for name, sampled in (("before", before), ("after", after)):
        for index, picture in enumerate(sampled.pictures):
            stated = _stated(ablation, prompt, index, is_ablated=name == "after")
            save_picture(path / folder / name / picture_name(index), picture, stated)
    of_all_seeds = {
        "seed_diversity_before": seed_diversity(before.pictures),
        "seed_diversity_after": seed_diversity(after.pictures),
        "seed_agreement_before": seed_agreement(before.pictures),
        "seed_agreement_after": seed_agreement(after.pictures),
    }
    rows = [
        {
            "prompt_id": prompt_id,
            "prompt": prompt,
            "image_index": index,
            "tile_distance": float(tile_distances(after.pictures[index : index + 1], before.pictures[index])[0]),
            **of_all_seeds,
            "text_conditional_noise_before": before.noise[index],
            "text_conditional_noise_after": after.noise[index],
            "before_path": f"{folder}/before/{picture_name(index)}",
            "after_path": f"{folder}/after/{picture_name(index)}",
            "panel_path": f"{PANELS_DIRECTORY}/{prompt_id}.png",
        }
        for index in range(len(before.pictures))
    ]
    (path / PANELS_DIRECTORY).mkdir(exist_ok=True)
    ablation_panel(effect_of(rows), path)
    return rows


def _stated(ablation: _Ablation, prompt: str, image_index: int, *, is_ablated: bool) -> dict[str, Any]:
    """What the metadata of a picture say: everything it was made from."""
    settings, plan = ablation.settings, ablation.plan
    ablated = {"neurons_sha256": ablation.neurons_sha256, "by": settings.by, "engine": settings.engine}
    return {
        "prompt": prompt,
        **asdict(plan),
        "image_index": image_index,
        "fingerprint": ablation.loaded.fingerprint,
        "ablated": ablated if is_ablated else None,
    }


def _write_results(ablation: _Ablation, rows: list[dict[str, Any]]) -> AblationRecord:
    """Write the page and run.json, and print the effects."""
    settings, path = ablation.settings, ablation.run.path
    neurons = ablation.neurons
    spent = len(settings.prompt) * ablation.plan.evaluations
    record = AblationRecord(
        schema_version=SCHEMA_VERSION,
        status=ABLATION,
        model=ModelIdentity(display_name(settings.model), ablation.loaded.fingerprint),
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
