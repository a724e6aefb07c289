"""Lay results out as the run directory's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from audit.prompts import Prompt
from audit.recovering import Sampled
from audit.scoring import Scored, Spike
from reports.schema import RECOVERIES_SCHEMA, SPIKES_SCHEMA, scores_schema

TIER_STEP, TIER_RECOVER = 1, 3


def scores_table(
    prompts: Sequence[Prompt], scored: Scored, severities: Sequence[str], sampled: Sequence[Sampled]
) -> pa.Table:
    """One row a candidate prompt, in the order of the prompt file."""
    reached = {s.position for s in sampled}
    columns = {
        "prompt_id": [p.prompt_id for p in prompts],
        "prompt": [p.text for p in prompts],
        "source_file": [p.source_file for p in prompts],
        "source_row": [p.source_row for p in prompts],
        "n_duplicates": [p.n_duplicates for p in prompts],
        "tier": [TIER_RECOVER if i in reached else TIER_STEP for i in range(len(prompts))],
        **scored.detectors,
        "spike_score": scored.spike_score,
        "p_value": scored.p_value,
        "q_value": scored.q_value,
        "flagged": scored.flagged,
        "severity": list(severities),
    }
    return pa.table(columns, schema=scores_schema(list(scored.detectors)))


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
            "attribution": None,
        }
        for position, of_prompt in spikes.items()
        for spike in of_prompt
    ]
    return pa.Table.from_pylist(rows, schema=SPIKES_SCHEMA)


def recoveries_table(prompts: Sequence[Prompt], sampled: Sequence[Sampled], evaluations: int) -> pa.Table:
    """One row a sampled prompt, flagged and control."""
    rows = [
        {
            "finding_id": None if s.finding is None else f"finding-{s.finding + 1:03d}",
            "prompt_id": prompts[s.position].prompt_id,
            "is_control": s.is_control,
            "strategy": "sample",
            "restart": 0,
            "evaluations": evaluations,
            "seed_agreement": s.outcome.agreement,
            "verdict": s.outcome.verdict,
            "image_path": s.image_path,
            "nearest_image": None if s.outcome.nearest is None else str(s.outcome.nearest.path),
            "similarity": None if s.outcome.nearest is None else s.outcome.nearest.similarity,
            "kind": "verbatim" if s.outcome.verdict == "confirmed" else None,
        }
        for s in sampled
    ]
    return pa.Table.from_pylist(rows, schema=RECOVERIES_SCHEMA)
