"""Results depend on the settings of their stage; settings that change no result are known by name."""

from dataclasses import replace

import pytest

from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.strategies import find_strategies
from flashbulb.audit.settings import ADDED, AuditSettings
from flashbulb.reports.gate.diff import check_comparable
from tests.reports.examples import run_record

COMPARED_BY_HASH = {
    "model",
    "baseline_model",
    *ADDED,
    "prompts",
    "reference",
    "calibration",
    "canaries",
    "descriptor_weights",
}
RECORDED_WITH_THE_MODEL = {"dtype", "device", "examine"}
PATHS_AND_LIMITS = {"out", "max_store_gib", "allow_pickle"}
ROUNDING = {"batch_size", "checkpointing", "offload"}
WORKERS = {"executor", "workers", "worker_timeout", "ray_address"}
VERDICT_AND_PAGE = {"strict", "policy", "waivers", "show_prompts", "redact_prompts", "blur", "targeted", "population"}
LAYOUT = {"layout"}  # settled by the number of prompts; the recording's identity has what reduced candidates depend on
CHANGING_NO_RESULT = (
    COMPARED_BY_HASH | RECORDED_WITH_THE_MODEL | PATHS_AND_LIMITS | ROUNDING | WORKERS | VERDICT_AND_PAGE | LAYOUT
)


def test_every_setting_belongs_to_an_identity_or_changes_no_result() -> None:
    settings = AuditSettings(model="m", prompts="p", reference=None, train_images=None, out="out")
    assert AuditSettings.model_fields.keys() - settings.identity().keys() == CHANGING_NO_RESULT


@pytest.mark.parametrize("name", sorted(CHANGING_NO_RESULT - {"dtype"}))
def test_audits_that_differ_in_a_setting_without_effect_can_be_compared(name: str) -> None:
    record = run_record()
    check_comparable(record, replace(record, settings={**record.settings, name: "another"}))


def test_attempts_depend_on_every_setting_that_changes_them() -> None:
    """A new setting of ascents or samples must be named by its strategy: attempts with another value are made again."""
    found, fields = find_strategies(), AuditSettings.model_fields.keys()
    ascents = {name for name in fields if name.startswith("ascend_")} - {"ascend_restarts"}  # numbers the attempts
    assert ascents <= found["ascend"].identity
    sampled = set(SamplePlan.__dataclass_fields__) - {"run_seed", "num_inference_steps"} | {"seed", "sample_steps"}
    assert sampled <= found["sample"].identity <= fields
    for strategy in found.values():
        assert strategy.identity <= fields
        assert strategy.needs_neurons or "clip_skip" in strategy.identity  # part of a recording's identity
