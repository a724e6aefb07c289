"""Measure the images of two models at the same prompts and seeds, and write the results of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from flashbulb.audit.additions.chosen import base_model, model_name
from flashbulb.audit.images.distances import RgbImages, agrees, seed_agreement, seed_distance, tile_distances
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.climbing import training_image_file
from flashbulb.audit.recover.samples import SamplePlan, image_name, load_images
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.progress import track
from flashbulb.audit.settings import CompareSettings
from flashbulb.audit.stages.results.account import library_versions
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.reports.page.compare import write_comparison_page
from flashbulb.reports.page.compare_markdown import write_comparison_markdown
from flashbulb.reports.tables.compare import (
    BASE,
    COMPARE_FILE,
    COMPARE_SCHEMA,
    FINETUNE,
    Comparison,
    ComparisonRecord,
    read_comparisons,
)
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, SCHEMA_VERSION, sha256_of
from flashbulb.reports.tables.run_record import COMPARISON, ModelIdentity
from flashbulb.reports.tables.schema import write_table

_REPEATS_AT = 0.5
"""Share of seeds that show one image from which a prompt counts as repeated."""


@dataclass(frozen=True, slots=True)
class ComparedPrompts:
    """Prompts to sample on both models.

    Args:
        n_left_out: prompts, controls included, beyond the limit.
        controls: ids of those that are controls.
        scores: `spike_score`, `p_value` and `severity` by prompt_id, where an audit names the prompts.
        fingerprint: of the model that the audit was of; None without one.
    """

    prompts: tuple[Prompt, ...]
    n_left_out: int
    controls: frozenset[str] = frozenset()
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How and where both models are sampled."""

    settings: CompareSettings
    prompts: ComparedPrompts
    run: RunDirectory
    fingerprints: dict[str, str]
    plan: SamplePlan

    def folder(self, prompt: Prompt, side: str) -> str:
        """Return the folder of a model's images of a prompt, relative to the directory."""
        return f"{IMAGES_DIRECTORY}/{prompt.prompt_id}/{side}"

    def kept(self, prompt: Prompt, side: str) -> RgbImages | None:
        """Return images that are on disk complete: [seed, height, width, 3]."""
        folder = self.run.path / self.folder(prompt, side)
        return load_images(folder, prompt.text, self.plan, self.fingerprints[side])

    def sampled(self, prompt: Prompt, side: str) -> RgbImages:
        """Return the images of a prompt, all of which were sampled."""
        images = self.kept(prompt, side)
        assert images is not None, f"{prompt.prompt_id} was sampled on the {side}"
        return images


def write_comparison(sampling: Sampling, training: TrainingImages | None, evaluations: dict[str, int]) -> Comparison:
    """Measure the images, and write the table, the page and run.json."""
    settings, path = sampling.settings, sampling.run.path
    rows: list[dict[str, Any]] = []
    with track("comparing", len(sampling.prompts.prompts), "prompts") as advance:
        for prompt in sampling.prompts.prompts:
            rows += _rows_of(sampling, prompt, training)
            advance()
    table = pa.Table.from_pylist(rows, schema=COMPARE_SCHEMA)
    footer = {"base_fingerprint": sampling.fingerprints[BASE], "model_fingerprint": sampling.fingerprints[FINETUNE]}
    write_table(path / COMPARE_FILE, table, COMPARE_SCHEMA, footer)
    record = ComparisonRecord(
        schema_version=SCHEMA_VERSION,
        status=COMPARISON,
        base=ModelIdentity(model_name(base_model(settings, settings.base)), sampling.fingerprints[BASE]),
        model=ModelIdentity(model_name(settings), sampling.fingerprints[FINETUNE]),
        settings=settings.model_dump(mode="json"),
        n_prompts=len(sampling.prompts.prompts),
        n_left_out=sampling.prompts.n_left_out,
        has_training_images=training is not None,
        evaluations=evaluations,
        versions=library_versions(),
        tables={COMPARE_FILE: sha256_of(path / COMPARE_FILE)},
    )
    compared = Comparison(record, read_comparisons(rows))
    write_comparison_page(path, compared)
    write_comparison_markdown(path, compared)
    sampling.run.update(**asdict(record))
    return compared


def _rows_of(sampling: Sampling, prompt: Prompt, training: TrainingImages | None) -> list[dict[str, Any]]:
    """Return the rows of a prompt: one for each seed."""
    sides = {side: sampling.sampled(prompt, side) for side in (BASE, FINETUNE)}
    measured = [_measure(sampling, prompt, side, images, training) for side, images in sides.items()]
    base, finetune = sides[BASE], sides[FINETUNE]
    scores = sampling.prompts.scores.get(prompt.prompt_id, dict.fromkeys(("spike_score", "p_value", "severity")))
    return [
        {
            "prompt_id": prompt.prompt_id,
            "prompt": prompt.text,
            "source_file": prompt.source_file,
            "source_row": prompt.source_row,
            "is_control": prompt.prompt_id in sampling.prompts.controls,
            "image_index": index,
            "tile_distance": float(tile_distances(finetune[index : index + 1], base[index])[0]),
            **measured[0][index],
            **measured[1][index],
            **scores,
        }
        for index in range(len(base))
    ]


def _measure(
    sampling: Sampling, prompt: Prompt, side: str, images: RgbImages, training: TrainingImages | None
) -> list[dict[str, Any]]:
    """Return the columns of one model, a row for each seed."""
    folder, agreement = sampling.folder(prompt, side), seed_agreement(images)
    across_seeds = {
        f"seed_agreement_{side}": agreement,
        f"seed_distance_{side}": seed_distance(images),
        f"repeats_{side}": agrees(agreement, len(images), _REPEATS_AT),
    }
    nearest: Sequence[Nearest | None] = [None] * len(images) if training is None else training.nearest(images)
    for found in nearest:
        training_image_file(training, found, (sampling.run.path / folder).parent)
    return [
        {
            f"image_path_{side}": f"{folder}/{image_name(index)}",
            **across_seeds,
            f"nearest_image_{side}": None if found is None else found.name,
            f"similarity_{side}": None if found is None else found.similarity,
            f"kind_{side}": None if found is None else found.kind,
        }
        for index, found in enumerate(nearest)
    ]
