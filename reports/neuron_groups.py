"""`neuron_groups.parquet`: the neurons that spike together in several flagged prompts."""

import pyarrow as pa


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


NEURON_GROUPS_SCHEMA = pa.schema(
    [
        _required("group_id", pa.string()),
        _required("site", pa.string()),
        _required("neuron", pa.int32()),
        _required("token_class", pa.string()),
        _required("n_prompts", pa.int32()),
        _required("mean_z", pa.float64()),
        _required("expected_prompts", pa.float64()),
        _required("prompt_ids", pa.list_(pa.string())),
        _required("n_group_prompts", pa.int32()),
        pa.field("n_findings", pa.int32()),
        pa.field("unflagged_share", pa.float64()),
        _required("p_value", pa.float64()),
    ]
)
