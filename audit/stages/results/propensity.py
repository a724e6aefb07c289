"""Draw ordinary prompts of an audit, sample them once each, and write what they brought out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa

from flashbulb.audit.prompts.drawing import draw
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.propensity.ordinary import OrdinarySample, sample_ordinary
from flashbulb.audit.recover.climbing import Recovery, training_image_file
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.recover.samples import image_name
from flashbulb.audit.recover.tasks import Performer
from flashbulb.audit.settings import SettingsError
from flashbulb.audit.stages.results.recovery_tables import finding_id
from flashbulb.audit.stages.results.state import Inputs, OrdinaryPrompts
from flashbulb.audit.statistics.flags import Scored
from flashbulb.reports.tables.evidence import PROPENSITY_SCHEMA
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, PROPENSITY_FILE
from flashbulb.reports.tables.propensity import ComparedWith, OrdinarySource, is_copy, propensity_of
from flashbulb.reports.tables.schema import write_table


class Pool(NamedTuple):
    """Ordinary prompts to draw from, and what they are."""

    source: OrdinarySource
    prompts: Sequence[Prompt]


def check_pool(inputs: Inputs) -> None:
    """Refuse --propensity with more prompts than there are to draw from.

    Raises:
        SettingsError: names both numbers.
    """
    n, reference = inputs.settings.n_ordinary, inputs.reference
    n_pool, kind = (inputs.n_prompts, "candidate") if reference is None else (len(reference.prompts), "reference")
    if n > n_pool:
        raise SettingsError(
            f"--propensity {n} is more than the {n_pool} {kind} prompts to draw from; draw fewer, or give more with "
            "--reference"
        )


def measure_propensity(
    recovery: Recovery, performer: Performer, inputs: Inputs, scored: Scored, recovered: Sequence[Recovered]
) -> OrdinaryPrompts:
    """Sample as many ordinary prompts as the settings ask for, and write propensity.parquet.

    Args:
        recovered: the prompts that recovery tried; their samples and findings are used again.
    """
    settings = inputs.settings
    pool = _pool(inputs, scored)
    prompts = draw(pool.prompts, settings.n_ordinary, settings.seed, "propensity")
    memories = (memory for tried in recovered for memory in tried.memories)
    findings = {finding_id(memory.finding): memory.image for memory in memories if memory.finding is not None}
    samples = sample_ordinary(recovery, performer, prompts, findings)
    for sample in samples if recovery.keep_images else ():
        if sample.nearest is not None and sample.nearest.kind is not None:  # a copy that the page can show
            training_image_file(
                recovery.training, sample.nearest, recovery.run / IMAGES_DIRECTORY / sample.prompt.prompt_id
            )
    compared_with: ComparedWith = "findings" if recovery.training is None else "training_images"
    table = _table(samples, compared_with, has_images=recovery.keep_images)
    footer = {"model_fingerprint": inputs.model.fingerprint}
    write_table(recovery.run / PROPENSITY_FILE, table, PROPENSITY_SCHEMA, footer)
    kept = {inputs.candidates.prompts[tried.position].prompt_id for tried in recovered} if recovery.keep_images else ()
    n_sampled = sum(prompt.prompt_id not in kept for prompt in prompts)
    return OrdinaryPrompts(
        propensity_of(table, pool.source, len(pool.prompts), compared_with),
        n_sampled * replace(recovery.plan, n_samples=1).evaluations(recovery.denoiser),
    )


def _pool(inputs: Inputs, scored: Scored) -> Pool:
    """Return the reference prompts, which are not training captions, else the candidates that are not flagged.

    Tier 0 needs a reference, so none of these is left out by it.
    """
    if inputs.reference is not None:
        return Pool("reference", inputs.reference.prompts)
    candidates = zip(inputs.candidates.prompts, scored.flagged, strict=True)
    return Pool("unflagged", [prompt for prompt, flagged in candidates if not flagged])


def _table(samples: Sequence[OrdinarySample], compared_with: ComparedWith, *, has_images: bool) -> pa.Table:
    rows = []
    for sample in samples:
        prompt, nearest = sample.prompt, sample.nearest
        kind = None if nearest is None else nearest.kind
        rows.append(
            {
                "prompt_id": prompt.prompt_id,
                "prompt": prompt.text,
                "source_file": prompt.source_file,
                "source_row": prompt.source_row,
                "image_path": f"{IMAGES_DIRECTORY}/{prompt.prompt_id}/{image_name(0)}" if has_images else None,
                "nearest_image": None if nearest is None else nearest.name,
                "similarity": None if nearest is None else nearest.similarity,
                "kind": kind,
                "finding_id": sample.finding_id,
                "n_recurring": sample.n_recurring,
                "is_copy": is_copy(compared_with, kind, sample.finding_id),
            }
        )
    return pa.Table.from_pylist(rows, schema=PROPENSITY_SCHEMA)
