"""Build the tables of an audit's run directory, one function for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flashbulb.audit.prompts.held import PROMPT_COLUMNS, HeldPrompts, Prompt, ScreenedCandidates
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.stages.results.state import Inputs
from flashbulb.audit.statistics.flags import Scored
from flashbulb.audit.statistics.spikes import PromptNeurons
from flashbulb.audit.statistics.style import TextNull, fit_text_null
from flashbulb.reports.tables.evidence import REFERENCE_SCORES_SCHEMA, SITE_PROFILES_SCHEMA, TEXT_NULL_SCHEMA
from flashbulb.reports.tables.schema import (
    BASE_Z,
    FINETUNE_Z,
    KNOWN_BY_BASE,
    scores_schema,
    spikes_schema,
)

TIER_SCREEN, TIER_STEP, TIER_RECOVER = 0, 1, 3
_NAMES_IN_SCORES = ["prompt" if name == "text" else name for name in PROMPT_COLUMNS.names]
"""Columns of scores.parquet that hold the fields of `Prompt`."""


class TextSets(NamedTuple):
    """Flagged prompts, and the prompts whose text they are compared with: the reference, else the unflagged ones."""

    flagged: Sequence[Prompt]
    others: Sequence[Prompt]


def scores_table(
    prompts: HeldPrompts,
    scored: Scored,
    severities: Sequence[str],
    recovered: Sequence[Recovered],
    image_detectors: Sequence[str] = (),
    screened: ScreenedCandidates | None = None,
) -> pa.Table:
    """Build scores.parquet: one row for each candidate prompt.

    Prompts that tier 0 left out come last and have no score but that of tier 0.

    Args:
        image_detectors: names of detectors with a column, which is null for prompts without samples.
        screened: what tier 0 found; None without it.
    """
    sampled = {result.position for result in recovered}
    detectors = {**scored.detectors, **_image_columns(len(prompts), recovered, image_detectors)}
    columns = {
        **dict(zip(_NAMES_IN_SCORES, prompts.columns.columns, strict=True)),
        "tier": [TIER_RECOVER if i in sampled else TIER_STEP for i in range(len(prompts))],
        **{name: pa.array(values, pa.float64(), from_pandas=True) for name, values in detectors.items()},
        "style": scored.style,
        "spike_score": scored.spike_score,
        "p_value": scored.p_value,
        "q_value": scored.q_value,
        "flagged": scored.flagged,
        "severity": list(severities),
    }
    has_base = scored.known_by_base is not None
    if has_base:
        columns[KNOWN_BY_BASE] = scored.known_by_base
    table = pa.table(columns, schema=scores_schema(list(detectors), has_base=has_base))
    return table if screened is None else _add_screened(table, screened)


def _add_screened(table: pa.Table, screened: ScreenedCandidates) -> pa.Table:
    """Append the prompts that tier 0 left out, and add the column of tier-0 scores."""
    n, held = len(screened.left_out), screened.left_out.columns.rename_columns(_NAMES_IN_SCORES)
    known = {"tier": [TIER_SCREEN] * n, "flagged": [False] * n, "severity": ["none"] * n}
    columns = []
    for field in table.schema:
        if field.name in held.column_names:
            columns.append(held[field.name].cast(field.type))
        else:
            columns.append(pa.array(known[field.name], field.type) if field.name in known else pa.nulls(n, field.type))
    complete = pa.concat_tables([table, pa.Table.from_arrays(columns, schema=table.schema)])
    scores = np.concatenate([screened.scores[screened.passed], screened.scores[~screened.passed]])
    return complete.add_column(complete.column_names.index("tier") + 1, "screen", pa.array(scores))


def _image_columns(
    n_prompts: int, recovered: Sequence[Recovered], names: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the scores of image detectors by name, NaN for prompts without samples: [prompt] each."""
    columns = {name: np.full(n_prompts, np.nan) for name in names}
    for result in recovered:
        for name, value in result.measured.items():
            columns[name][result.position] = value
    return columns


def spikes_table(prompts: Sequence[Prompt], flagged: Mapping[int, PromptNeurons], *, has_base: bool) -> pa.Table:
    """Build spikes.parquet: one row for each spiking neuron of a flagged prompt; attribution stays null."""
    rows = [
        {
            "prompt_id": prompts[position].prompt_id,
            "site": spike.column.site.name,
            "neuron": spike.neuron,
            "token_class": spike.column.token_class,
            "activation": spike.activation,
            "z": spike.z,
            "share": spike.share,
            "attribution": None,
            **({FINETUNE_Z: spike.own_z, BASE_Z: spike.base_z} if has_base else {}),
        }
        for position, neurons in flagged.items()
        for spike in neurons.spikes
    ]
    return pa.Table.from_pylist(rows, schema=spikes_schema(has_base=has_base))


def text_sets(inputs: Inputs, scored: Scored) -> TextSets:
    """Return the two sets of prompts that the text-only null separates."""
    prompts = inputs.candidates.prompts
    flagged = [prompt for prompt, flag in zip(prompts, scored.flagged, strict=True) if flag]
    unflagged = [prompt for prompt, flag in zip(prompts, scored.flagged, strict=True) if not flag]
    return TextSets(flagged, inputs.reference.prompts if inputs.reference else unflagged)


def measure_text_null(sets: TextSets, seed: int) -> TextNull | None:
    """Measure how well the text alone separates the two sets; None if one has too few prompts."""
    return fit_text_null([prompt.text for prompt in sets.flagged], [prompt.text for prompt in sets.others], seed)


def text_null_table(sets: TextSets, null: TextNull | None) -> pa.Table:
    """Build text_null.parquet: the out-of-fold score of each prompt in either set; empty if it was not measured."""
    if null is None:
        return TEXT_NULL_SCHEMA.empty_table()
    return pa.table(
        {
            "prompt_id": [prompt.prompt_id for prompt in (*sets.flagged, *sets.others)],
            "is_flagged": [True] * len(sets.flagged) + [False] * len(sets.others),
            "score": [*null.first_scores, *null.second_scores],
        },
        schema=TEXT_NULL_SCHEMA,
    )


def reference_scores_table(inputs: Inputs, scored: Scored) -> pa.Table:
    """Build reference_scores.parquet: one row for each reference prompt; empty without a reference."""
    if inputs.reference is None:
        return REFERENCE_SCORES_SCHEMA.empty_table()
    return pa.table(
        {
            "prompt_id": inputs.reference.prompts.ids,
            "style": scored.reference_style,
            "spike_score": scored.reference_score,
            "held_out_p_value": pa.array(scored.reference_p_value, pa.float64(), from_pandas=True),
        },
        schema=REFERENCE_SCORES_SCHEMA,
    )


def site_profiles_table(
    prompts: Sequence[Prompt], flagged: Mapping[int, PromptNeurons], controls: Mapping[int, PromptNeurons]
) -> pa.Table:
    """Build site_profiles.parquet: one row for each site of each flagged prompt and each control."""
    rows = [
        {
            "prompt_id": prompts[position].prompt_id,
            "is_control": position in controls,
            "kind": profile.site.kind,
            "site": profile.site.name,
            "n_neurons": profile.site.n_neurons,
            "rms_z": profile.rms_z,
            "spike_share": profile.spike_share,
        }
        for position, neurons in (*flagged.items(), *controls.items())
        for profile in neurons.profiles
    ]
    return pa.Table.from_pylist(rows, schema=SITE_PROFILES_SCHEMA)
