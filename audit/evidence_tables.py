"""Lay out what stands behind the verdict: reference scores, profiles over sites, and what words alone tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from audit.flagging import Scored
from audit.prompts import Prompt
from audit.recovering import Recovered
from audit.results import Inputs
from audit.scoring import site_profiles
from audit.shards import Shards
from audit.style import TextNull, fit_text_null
from reports.evidence_tables import REFERENCE_SCORES_SCHEMA, SITE_PROFILES_SCHEMA, TEXT_NULL_SCHEMA


class TextSets(NamedTuple):
    """Flagged prompts, and those whose words they are held against: the reference, or else the unflagged."""

    flagged: Sequence[Prompt]
    others: Sequence[Prompt]


def text_sets(inputs: Inputs, scored: Scored) -> TextSets:
    prompts = inputs.candidates.prompts
    flagged = [prompt for prompt, flag in zip(prompts, scored.flagged, strict=True) if flag]
    unflagged = [prompt for prompt, flag in zip(prompts, scored.flagged, strict=True) if not flag]
    return TextSets(flagged, inputs.reference.prompts if inputs.reference else unflagged)


def text_null_of(sets: TextSets, seed: int) -> TextNull | None:
    """How well words alone tell the two apart."""
    return fit_text_null([prompt.text for prompt in sets.flagged], [prompt.text for prompt in sets.others], seed)


def text_null_table(sets: TextSets, null: TextNull | None) -> pa.Table:
    """One row a prompt of either set with its out-of-fold score; no rows where it was not measured."""
    if null is None:
        return TEXT_NULL_SCHEMA.empty_table()
    return pa.table(
        {
            "prompt_id": [prompt.prompt_id for prompt in (*sets.flagged, *sets.others)],
            "is_flagged": [True] * len(sets.flagged) + [False] * len(sets.others),
            "score": [*null.of_first, *null.of_second],
        },
        schema=TEXT_NULL_SCHEMA,
    )


def reference_scores_table(inputs: Inputs, scored: Scored) -> pa.Table:
    """One row a reference prompt; no rows without a reference."""
    if inputs.reference is None:
        return REFERENCE_SCORES_SCHEMA.empty_table()
    return pa.table(
        {
            "prompt_id": [prompt.prompt_id for prompt in inputs.reference.prompts],
            "style": scored.reference_style,
            "spike_score": scored.reference_score,
            "held_out_p_value": pa.array(scored.reference_p_value, pa.float64(), from_pandas=True),
        },
        schema=REFERENCE_SCORES_SCHEMA,
    )


def site_profiles_table(
    prompts: Sequence[Prompt], scored: Scored, candidates: Shards, recovered: Sequence[Recovered]
) -> pa.Table:
    """One row a site of each flagged prompt and of each control."""
    controls = [one.position for one in recovered if one.is_control]
    flagged = [position for position, flag in enumerate(scored.flagged) if flag]
    profiles = site_profiles(scored.groups, candidates, [*flagged, *controls])
    rows = [
        {
            "prompt_id": prompts[position].prompt_id,
            "is_control": not scored.flagged[position],
            "kind": profile.site.kind,
            "site": profile.site.name,
            "n_neurons": profile.site.n_neurons,
            "rms_z": profile.rms_z,
            "spike_share": profile.spike_share,
        }
        for position, of_prompt in profiles.items()
        for profile in of_prompt
    ]
    return pa.Table.from_pylist(rows, schema=SITE_PROFILES_SCHEMA)
