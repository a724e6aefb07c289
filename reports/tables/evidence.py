"""Columns of the tables that explain a verdict: reference scores, site profiles, text-only null, neuron groups."""

import pyarrow as pa

from flashbulb.reports.tables.schema import required_column

SPIKE_LIMIT = 5.0
"""|z| above which a neuron counts as spiking in `site_profiles.parquet`."""

REFERENCE_SCORES_SCHEMA = pa.schema(
    [
        required_column("prompt_id", pa.string()),
        required_column("style", pa.int32()),
        required_column("spike_score", pa.float64()),
        pa.field("held_out_p_value", pa.float64()),
    ]
)

SITE_PROFILES_SCHEMA = pa.schema(
    [
        required_column("prompt_id", pa.string()),
        required_column("is_control", pa.bool_()),
        required_column("kind", pa.string()),
        required_column("site", pa.string()),
        required_column("n_neurons", pa.int32()),
        required_column("rms_z", pa.float64()),
        required_column("spike_share", pa.float64()),
    ]
)

TEXT_NULL_SCHEMA = pa.schema(
    [
        required_column("prompt_id", pa.string()),
        required_column("is_flagged", pa.bool_()),
        required_column("score", pa.float64()),
    ]
)

NEURON_GROUPS_SCHEMA = pa.schema(
    [
        required_column("group_id", pa.string()),
        required_column("site", pa.string()),
        required_column("neuron", pa.int32()),
        required_column("token_class", pa.string()),
        required_column("n_prompts", pa.int32()),
        required_column("mean_z", pa.float64()),
        required_column("expected_prompts", pa.float64()),
        required_column("prompt_ids", pa.list_(pa.string())),
        required_column("n_group_prompts", pa.int32()),
        pa.field("n_findings", pa.int32()),
        pa.field("unflagged_share", pa.float64()),
        required_column("p_value", pa.float64()),
    ]
)
