"""The tables of evidence of an audit, as they follow from its record, its scores and its attempts."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from flashbulb.reports.tables.evidence import (
    NEURON_GROUPS_SCHEMA,
    REFERENCE_SCORES_SCHEMA,
    SITE_PROFILES_SCHEMA,
    TEXT_NULL_SCHEMA,
)
from flashbulb.reports.tables.files import (
    NEURON_GROUPS_FILE,
    REFERENCE_SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    TEXT_NULL_FILE,
)
from flashbulb.reports.tables.run_record import RunRecord
from flashbulb.reports.tables.schema import SPIKES_SCHEMA

SITES = (
    ("text_mlp", "text_encoder.encoder.layers.0.mlp.fc2"),
    ("cross_v", "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v"),
    ("feed_forward", "unet.up_blocks.1.attentions.0.transformer_blocks.0.ff.net.2"),
)
N_NEURONS = 64


def evidence_tables(
    record: RunRecord, scores: pa.Table, recoveries: pa.Table, sites: Sequence[tuple[str, str]] = SITES
) -> dict[str, pa.Table]:
    """Every table but scores and recoveries, by the name of its file."""
    rows = scores.select(["prompt_id", "flagged", "tier"]).to_pylist()
    flagged = [row["prompt_id"] for row in rows if row["flagged"]]
    unflagged = [row["prompt_id"] for row in rows if not row["flagged"] and row["tier"] != 0]
    tried = recoveries.select(["prompt_id", "is_control"]).to_pylist()
    controls = list(dict.fromkeys(row["prompt_id"] for row in tried if row["is_control"]))
    reference = _reference(record)
    others = unflagged if record.compared_with == "unflagged" else reference["prompt_id"].to_pylist()
    is_compared = record.calibration.style_auc is not None
    return {
        SPIKES_FILE: _spikes(flagged, sites),
        SITE_PROFILES_FILE: _profiles(flagged, controls, sites),
        NEURON_GROUPS_FILE: _groups(flagged, sites[-1][1]),
        REFERENCE_SCORES_FILE: reference,
        TEXT_NULL_FILE: _text_null(flagged, others) if is_compared else TEXT_NULL_SCHEMA.empty_table(),
    }


def _spikes(flagged: Sequence[str], sites: Sequence[tuple[str, str]]) -> pa.Table:
    rows = [
        {"prompt_id": prompt, "site": site, "neuron": neuron, "token_class": "all", "activation": 1.5, "z": 9.5}
        | {"share": 0.01}
        for prompt in flagged
        for neuron, (_, site) in enumerate(sites)
    ]
    return pa.Table.from_pylist(rows, schema=SPIKES_SCHEMA)


def _profiles(flagged: Sequence[str], controls: Sequence[str], sites: Sequence[tuple[str, str]]) -> pa.Table:
    rows = [
        {"prompt_id": prompt, "is_control": is_control, "kind": kind, "site": site, "n_neurons": N_NEURONS}
        | {"rms_z": 1.0 if is_control else 2.0 + place, "spike_share": 0.1}
        for prompts, is_control in ((flagged, False), (controls, True))
        for prompt in prompts
        for place, (kind, site) in enumerate(sites)
    ]
    return pa.Table.from_pylist(rows, schema=SITE_PROFILES_SCHEMA)


def _groups(flagged: Sequence[str], site: str) -> pa.Table:
    """One group of four neurons that spike for the first two flagged prompts."""
    shared = {"group_id": "group-001", "site": site, "token_class": "all", "n_prompts": 2, "mean_z": 9.0}
    shared |= {"expected_prompts": 0.1, "prompt_ids": list(flagged[:2]), "n_group_prompts": 2, "n_findings": None}
    rows = [shared | {"neuron": neuron, "unflagged_share": 0.0, "p_value": 1e-6} for neuron in range(4)]
    return pa.Table.from_pylist(rows if len(flagged) > 1 else [], schema=NEURON_GROUPS_SCHEMA)


def _reference(record: RunRecord) -> pa.Table:
    styles = [
        number
        for number, style in enumerate(record.calibration.styles)
        if style.on_reference
        for _ in range(style.n_calibrating)
    ]
    n = len(styles)
    columns = {"prompt_id": [f"r{i}" for i in range(n)], "style": styles}
    columns["spike_score"] = np.sort(np.random.default_rng(0).gamma(20, 0.04, n))
    return pa.table(columns | {"held_out_p_value": 1 - np.arange(n) / max(1, n)}, schema=REFERENCE_SCORES_SCHEMA)


def _text_null(flagged: Sequence[str], others: Sequence[str]) -> pa.Table:
    ids = [*flagged, *others]
    scores = np.random.default_rng(1).random(len(ids))
    is_flagged = [i < len(flagged) for i in range(len(ids))]
    return pa.table({"prompt_id": ids, "is_flagged": is_flagged, "score": scores}, schema=TEXT_NULL_SCHEMA)
