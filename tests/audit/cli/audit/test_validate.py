"""`flashbulb validate` plans an audit and refuses what the audit would refuse, without writing anything."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.audit.cli.mistakes import MISTAKES
from tests.audit.commands import (
    CANDIDATES,
    ODD,
    REFERENCE,
    digests,
    edit_run_json,
    refused,
    run_flashbulb,
    run_json,
    text_file,
)
from tests.reports.runs import HOSTILE


def plan_of(*options: object) -> dict:
    """Return the document that `validate --json` prints."""
    answer = run_flashbulb("validate", *options, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def images(folder: Path, n: int) -> Path:
    folder.mkdir()
    for number in range(n):
        Image.effect_noise((16, 16), 90).convert("RGB").save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gives_the_error_of_the_audit(inputs, tmp_path, mistake):
    changes, expected = mistake(inputs, tmp_path)
    valid = inputs.options(tmp_path / "run")
    options = dict(zip(valid[::2], valid[1::2], strict=True)) | changes
    before = digests(tmp_path)
    flat = [part for option in options.items() for part in option]
    line = refused("validate", *flat)
    assert expected in line
    assert digests(tmp_path) == before
    assert line == refused("audit", *flat)


@pytest.mark.parametrize(
    "more",
    [
        ("--detectors", "all"),
        ("--detectors", "anisotropy", "--seeds", "3", "--batch-size", "4", "--sites", "text_mlp"),
    ],
)
def test_planned_evaluations_are_those_that_an_audit_counts(inputs, tmp_path, more):
    options = (*inputs.options(tmp_path / "run"), *more)
    before = digests(tmp_path)
    plan = plan_of(*options)
    assert digests(tmp_path) == before
    assert not (tmp_path / "run").exists()
    assert run_flashbulb("audit", *options).code == 0
    recorded = run_json(tmp_path / "run")["evaluations"]
    assert plan["evaluations"]["record"] == {"low": recorded["record"], "high": recorded["record"]}
    assert recorded["recover"] <= plan["evaluations"]["recover"]["high"]
    assert recorded.keys() <= plan["evaluations"].keys()


def test_a_calibration_and_screening_change_what_is_recorded(inputs, tmp_path):
    n_prompts, n_reference, n_seeds = len(CANDIDATES), len(REFERENCE), 2
    screened = plan_of(*inputs.options(tmp_path / "run"), "--tiers", "screened")["evaluations"]["record"]
    assert screened == {"low": n_seeds * (1 + n_reference + 1), "high": n_seeds * (1 + n_reference + n_prompts)}
    folder = tmp_path / "calibration"
    calibration = ("--model", inputs.model, "--reference", inputs.reference, "--seeds", n_seeds, "--out", folder)
    assert run_flashbulb("calibrate", *calibration).code == 0
    options = [folder if value == inputs.reference else value for value in inputs.options(tmp_path / "run")]
    options[options.index("--reference")] = "--calibration"
    plan = plan_of(*options)
    assert plan["reference_recorded"] is True
    assert plan["evaluations"]["record"] == {"low": n_seeds * (1 + n_prompts), "high": n_seeds * (1 + n_prompts)}


def test_all_strategies_stay_within_the_plan(short_strategies, inputs, tmp_path):
    strategies = [part for name in ("sample", "ascend", "cyclic", "known_image") for part in ("--strategy", name)]
    few = ("--max-sampled", "1", "--ascend-steps", "1", "--ascend-restarts", "1")
    more = (*few, *strategies, "--train-images", images(tmp_path / "images", 3))
    prompts = text_file(tmp_path / "prompts.txt", [CANDIDATES[0], ODD])
    options = (*inputs._replace(prompts=prompts).options(tmp_path / "run"), *more)
    plan = plan_of(*options)
    assert plan["n_training_images"] == 3
    assert plan["n_flagged"] == {"low": 1, "high": 1}
    assert run_flashbulb("audit", *options).code == 0
    spent = run_json(tmp_path / "run")["evaluations"]["recover"]
    assert plan["evaluations"]["recover"]["low"] <= spent <= plan["evaluations"]["recover"]["high"]
    folders = [tmp_path / "run" / name for name in ("images", "recovery")]
    on_disk = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    assert 0 < on_disk <= plan["bytes_of_pictures"]


def test_recovery_without_samples_is_planned_at_zero(inputs, tmp_path):
    plan = plan_of(*inputs.options(tmp_path / "run"), "--max-sampled", "0")
    assert plan["evaluations"]["recover"] == plan["n_flagged"] == {"low": 0, "high": 0}
    assert plan["bytes_of_pictures"] == 0


def test_prompts_are_counted_as_read(inputs, tmp_path):
    prompts = text_file(tmp_path / "p.txt", ["a star", "", "a star", "long " * 50, ODD])
    plan = plan_of(*inputs._replace(prompts=prompts).options(tmp_path / "run"))
    described = {"n_rows": 5, "n_empty": 1, "n_duplicates": 1, "n_distinct": 3, "n_prompts": 3, "n_truncated": 1}
    assert plan["prompts"] == {"source": str(prompts), **described}


def test_activations_take_no_more_space_than_planned(inputs, tmp_path):
    options = inputs.options(tmp_path / "run")
    planned = plan_of(*options)["bytes_of_activations"]
    record = run_flashbulb("record", *options[:8], "--seeds", "2")
    assert record.code == 0, record.err
    shards = list((tmp_path / "run" / "activations").rglob("*/part-*.parquet"))
    assert 0 < planned < sum(path.stat().st_size for path in shards) * 20


def test_run_directory_is_new_resumed_deleted_or_refused(inputs, finished, copied, tmp_path):
    options = [copied if value == finished.run else value for value in finished.options]
    before = digests(copied)
    new, held, over = (
        run_flashbulb("validate", *arguments).out
        for arguments in (inputs.options(tmp_path / "new"), options, (*options, "--force", "--seeds", "3"))
    )
    assert f"{tmp_path / 'new'} would be created" in new
    assert f"{copied} holds this audit (status complete), which would be resumed" in held
    assert "which --force would delete" in over
    line = refused("validate", *options, "--fpr", "0.3")
    assert line == refused("audit", *options, "--fpr", "0.3")
    assert "detection.settings.fpr was 0.2, now 0.3" in line
    assert digests(copied) == before


def test_missing_training_images_are_reported_at_once(inputs, tmp_path):
    (tmp_path / "images").mkdir()
    assert "no training image" in refused(
        "validate", *inputs.options(tmp_path / "run"), "--train-images", tmp_path / "images"
    )


def test_too_large_recording_is_refused_with_the_error_of_the_audit(inputs, tmp_path):
    options = (*inputs.options(tmp_path / "run"), "--max-store-gib", "0.0001")
    line = refused("validate", *options)
    assert "raise --max-store-gib" in line
    assert line == refused("audit", *options)


def test_lines_explain_the_time_estimate_and_hold_no_control_characters(inputs, tmp_path):
    answer = run_flashbulb("validate", *inputs.options(tmp_path / "\x1b[31mrun"))
    assert answer.code == 0
    assert "UE that took" in answer.out
    assert "\x1b" not in answer.out


def test_untrusted_status_is_shown_as_text(copied, finished):
    edit_run_json(copied, "status", value=HOSTILE)
    options = [copied if value == finished.run else value for value in finished.options]
    answer = run_flashbulb("validate", *options)
    assert answer.code == 0
    assert not any(character in answer.out for character in "\x1b\u202e\x00")
    assert plan_of(*options)["out_status"] == HOSTILE
