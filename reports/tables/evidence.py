"""Columns of the tables that explain a verdict, and of those that only some audits have: propensity and canaries."""

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

PROPENSITY_SCHEMA = pa.schema(
    [
        *(required_column(name, pa.string()) for name in ("prompt_id", "prompt", "source_file")),
        required_column("source_row", pa.int64()),
        pa.field("image_path", pa.string()),
        pa.field("nearest_image", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("kind", pa.string()),
        pa.field("finding_id", pa.string()),
        required_column("n_recurring", pa.int32()),
        required_column("is_copy", pa.bool_()),
    ]
)

CANARIES_SCHEMA = pa.schema(
    [
        required_column("canary_id", pa.string()),
        required_column("tier", pa.string()),
        required_column("repeats", pa.int32()),
        pa.field("group", pa.string()),
        required_column("is_twin", pa.bool_()),
        required_column("is_in", pa.bool_()),
        required_column("prompt", pa.string()),
        required_column("image", pa.string()),
        required_column("spike_score", pa.float64()),
        required_column("p_value", pa.float64()),
        required_column("flagged", pa.bool_()),
        required_column("membership_score", pa.float64()),
        pa.field("guess", pa.bool_()),
        pa.field("replicated", pa.bool_()),
        pa.field("verdict", pa.string()),
        pa.field("recovered", pa.bool_()),
        pa.field("image_path", pa.string()),
    ]
)
