"""Every setting belongs to the identity of a stage, or is listed as changing no result."""

from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages import identity

COMPARED_BY_HASH = {"model", "prompts", "reference", "calibration", "descriptor_weights"}
RECORDED_WITH_THE_MODEL = {"dtype", "device"}
PATHS_AND_LIMITS = {"out", "max_store_gib", "allow_pickle"}
ROUNDING = {"batch_size", "checkpointing"}
VERDICT_AND_PAGE = {"strict", "policy", "waivers", "show_prompts", "redact_prompts", "blur"}


def test_every_setting_belongs_to_exactly_one_stage_or_to_none() -> None:
    settings_by_stage = (
        identity._ACTIVATION_SETTINGS,
        identity._SET_SETTINGS,
        identity._DETECTION_SETTINGS,
        identity._RECOVERY_SETTINGS,
    )
    in_a_stage = set().union(*settings_by_stage)
    in_none = COMPARED_BY_HASH | RECORDED_WITH_THE_MODEL | PATHS_AND_LIMITS | ROUNDING | VERDICT_AND_PAGE
    assert not in_a_stage & in_none
    assert in_a_stage | in_none == AuditSettings.model_fields.keys()
    assert sum(map(len, settings_by_stage)) == len(in_a_stage)
