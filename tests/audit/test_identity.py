"""No setting is forgotten: each belongs to the identity of a stage, or is known to change no result."""

from audit import identity
from audit.config import AuditSettings

KNOWN_BY_HASH = {"model", "prompts", "reference", "calibration", "descriptor_weights"}
STATED_WITH_THE_MODEL = {"dtype", "device"}
PLACES_AND_LIMITS = {"out", "max_store_gib", "allow_pickle"}
ROUNDING = {"batch_size", "checkpointing"}
JUDGED_AND_SHOWN = {"strict", "policy", "waivers", "show_prompts", "redact_prompts", "blur"}


def test_every_setting_shapes_a_stage_or_none() -> None:
    of_stages = (identity._OF_ACTIVATIONS, identity._OF_SETS, identity._OF_DETECTION, identity._OF_RECOVERY)
    shaping = set().union(*of_stages)
    others = KNOWN_BY_HASH | STATED_WITH_THE_MODEL | PLACES_AND_LIMITS | ROUNDING | JUDGED_AND_SHOWN
    assert not shaping & others
    assert shaping | others == AuditSettings.model_fields.keys()
    assert sum(map(len, of_stages)) == len(shaping)
