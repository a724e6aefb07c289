"""Results depend on the settings of their stage; settings that change no result are known by name."""

from dataclasses import replace

import pytest

from flashbulb.audit.settings import AuditSettings
from flashbulb.reports.gate.diff import check_comparable
from tests.reports.examples import run_record

COMPARED_BY_HASH = {"model", "prompts", "reference", "calibration", "descriptor_weights"}
RECORDED_WITH_THE_MODEL = {"dtype", "device"}
PATHS_AND_LIMITS = {"out", "max_store_gib", "allow_pickle"}
ROUNDING = {"batch_size", "checkpointing"}
VERDICT_AND_PAGE = {"strict", "policy", "waivers", "show_prompts", "redact_prompts", "blur"}
CHANGING_NO_RESULT = COMPARED_BY_HASH | RECORDED_WITH_THE_MODEL | PATHS_AND_LIMITS | ROUNDING | VERDICT_AND_PAGE


def test_every_setting_belongs_to_an_identity_or_changes_no_result() -> None:
    settings = AuditSettings(model="m", prompts="p", reference=None, train_images=None, out="out")
    assert AuditSettings.model_fields.keys() - settings.identity().keys() == CHANGING_NO_RESULT


@pytest.mark.parametrize("name", sorted(CHANGING_NO_RESULT - {"dtype"}))
def test_audits_that_differ_in_a_setting_without_effect_can_be_compared(name: str) -> None:
    record = run_record()
    check_comparable(record, replace(record, settings={**record.settings, name: "another"}))
