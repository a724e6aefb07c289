"""Tables of what stands behind a verdict: the reference's scores, the sites that spiked, and what words alone tell."""

import pyarrow as pa

SPIKE_LIMIT = 5.0
"""|z| above which a neuron counts as spiking in `site_profiles.parquet`."""

REFERENCE_SCORES_SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("style", pa.int32(), nullable=False),
        pa.field("spike_score", pa.float64(), nullable=False),
        pa.field("held_out_p_value", pa.float64()),
    ]
)

SITE_PROFILES_SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("is_control", pa.bool_(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("site", pa.string(), nullable=False),
        pa.field("n_neurons", pa.int32(), nullable=False),
        pa.field("rms_z", pa.float64(), nullable=False),
        pa.field("spike_share", pa.float64(), nullable=False),
    ]
)

TEXT_NULL_SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("is_flagged", pa.bool_(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)
