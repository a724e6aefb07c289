"""Lay results out as the run directory's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.findings import Outcome
from audit.flagging import Scored
from audit.prompts import Prompt
from audit.recovering import Recovered
from audit.scoring import Spike
from reports.schema import RECOVERIES_SCHEMA, SPIKES_SCHEMA, scores_schema

TIER_SCREEN, TIER_STEP, TIER_RECOVER = 0, 1, 3
_OF_PROMPT = ("prompt_id", "source_file", "source_row", "n_duplicates")
_CALM = {"tier": TIER_SCREEN, "flagged": False, "severity": "none"}


def scores_table(
    prompts: Sequence[Prompt],
    scored: Scored,
    severities: Sequence[str],
    recovered: Sequence[Recovered],
    picture_detectors: Sequence[str] = (),
    left_out: Sequence[Prompt] = (),
    screen_scores: Mapping[str, float] | None = None,
) -> pa.Table:
    """One row a candidate prompt; those that tier 0 left out have its score alone and come last.

    Args:
        picture_detectors: those with a column, which is null for prompts that were not sampled.
        screen_scores: tier-0 score of every prompt by prompt_id, where there was a tier 0.
    """
    reached = {one.position for one in recovered}
    detectors = {**scored.detectors, **_picture_columns(len(prompts), recovered, picture_detectors)}
    columns = {
        "prompt_id": [p.prompt_id for p in prompts],
        "prompt": [p.text for p in prompts],
        "source_file": [p.source_file for p in prompts],
        "source_row": [p.source_row for p in prompts],
        "n_duplicates": [p.n_duplicates for p in prompts],
        "tier": [TIER_RECOVER if i in reached else TIER_STEP for i in range(len(prompts))],
        **{name: pa.array(values, pa.float64(), from_pandas=True) for name, values in detectors.items()},
        "style": scored.style,
        "spike_score": scored.spike_score,
        "p_value": scored.p_value,
        "q_value": scored.q_value,
        "flagged": scored.flagged,
        "severity": list(severities),
    }
    judged = pa.table(columns, schema=scores_schema(list(detectors)))
    if not screen_scores:
        return judged
    fields = ("prompt_id", "source_file", "source_row", "n_duplicates")
    calm = [
        {**{name: getattr(p, name) for name in fields}, "prompt": p.text, "tier": TIER_SCREEN, **_CALM}
        for p in left_out
    ]
    together = pa.concat_tables([judged, pa.Table.from_pylist(calm, schema=judged.schema)])
    screened = pa.array([screen_scores[prompt_id] for prompt_id in together["prompt_id"].to_pylist()], pa.float64())
    return together.add_column(together.column_names.index("tier") + 1, "screen", screened)


def _picture_columns(
    n_prompts: int, recovered: Sequence[Recovered], names: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """What picture detectors say of the sampled prompts, NaN for the others: [prompt] by detector."""
    columns = {name: np.full(n_prompts, np.nan) for name in names}
    for one in recovered:
        for name, value in one.measured.items():
            columns[name][one.position] = value
    return columns


def spikes_table(prompts: Sequence[Prompt], spikes: Mapping[int, Sequence[Spike]]) -> pa.Table:
    """One row a spiking neuron of a flagged prompt; attribution is not computed here."""
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
        }
        for position, of_prompt in spikes.items()
        for spike in of_prompt
    ]
    return pa.Table.from_pylist(rows, schema=SPIKES_SCHEMA)


def finding_id(finding: int) -> str:
    """Name of a distinct picture, numbered from 0."""
    return f"finding-{finding + 1:03d}"


def recoveries_table(prompts: Sequence[Prompt], recovered: Sequence[Recovered]) -> pa.Table:
    """One row a rung that a prompt, flagged or control, was tried on, in the order of trying."""
    rows = [
        {
            **recovery_row(rung.outcome),
            "finding_id": finding_id(one.finding) if rung is one.best and one.finding is not None else None,
            "prompt_id": prompts[one.position].prompt_id,
            "is_control": one.is_control,
            "strategy": rung.strategy,
            "restart": rung.restart,
            "evaluations": rung.evaluations,
            "image_path": rung.image_path,
            "mask_path": rung.mask_path,
            "fixed_share": rung.fixed_share,
        }
        for one in recovered
        for rung in one.rungs
    ]
    return pa.Table.from_pylist(rows, schema=RECOVERIES_SCHEMA)


def recovery_row(outcome: Outcome) -> dict[str, object]:
    """What an outcome says of itself, by column of the recoveries."""
    nearest = outcome.nearest
    return {
        "seed_agreement": outcome.agreement,
        "verdict": outcome.verdict,
        "confidence": outcome.confidence,
        "nearest_image": None if nearest is None else str(nearest.path),
        "similarity": None if nearest is None else nearest.similarity,
        "kind": outcome.kind,
    }
