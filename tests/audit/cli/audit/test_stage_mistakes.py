"""A stage that cannot run says why in one line, names the command that must come first, and changes nothing."""

import json
import shutil
from pathlib import Path

import pytest

from tests.audit.cli.mistakes import MISTAKES
from tests.audit.commands import CANDIDATES, digests, edit_run_json, refused, run_flashbulb, run_json, text_file
from tests.audit.conftest import RECOVERY_OPTIONS, recording


def test_another_recording_is_refused_with_both_values(inputs, at):
    run = at("detected")
    before = digests(run)
    line = refused("record", *recording(inputs, run, "--seeds", "3"))
    assert "recording.settings.n_seeds was 2, now 3" in line
    assert digests(run) == before


@pytest.mark.parametrize(("name", "following"), [("recorded", "detect"), ("detected", "recover")])
def test_unfinished_audit_is_refused_and_the_next_command_named(at, tmp_path, name, following):
    run, labels = at(name), text_file(tmp_path / "labels.csv", ["prompt,label", f"{CANDIDATES[0]},0"])
    for arguments in (("gate", run), ("evaluate", run, "--labels", labels), ("localize", run)):
        assert f"continue with `flashbulb {following} {run}`" in refused(*arguments, code=3)


def test_stages_out_of_order_are_one_line(at, inputs, tmp_path):
    run = at("recorded")
    before = digests(run)
    assert f"continue with `flashbulb detect {run}`" in refused("recover", run)
    assert digests(run) == before
    for stage in ("detect", "recover"):
        assert "begin one with `flashbulb record" in refused(stage, tmp_path / "nowhere")
        assert "begin one with `flashbulb record" in refused(stage, inputs.model)


def test_recovery_from_another_model_is_refused(at, tmp_path):
    run = at("detected")
    model = Path(shutil.copytree(run_json(run)["settings"]["model"], tmp_path / "model"))
    config = json.loads((model / "scheduler" / "scheduler_config.json").read_text())
    (model / "scheduler" / "scheduler_config.json").write_text(json.dumps({**config, "beta_end": 0.02}))
    edit_run_json(run, "settings", "model", value=str(model))
    before = digests(run)
    line = refused("recover", run)
    assert run_json(run)["model"]["fingerprint"] in line
    assert digests(run) == before


def test_a_seed_budget_that_pays_for_no_prompt_is_refused(at, inputs, tmp_path):
    run, least = at("detected"), 3 * 2 * 2 * 2  # three times as many samples, guided steps
    before = digests(run)
    lines = [
        refused("recover", run, *RECOVERY_OPTIONS, "--seed-budget", least - 1),
        refused("audit", *inputs.options(tmp_path / "run"), "--seed-budget", least - 1),
    ]
    assert all(
        f"--seed-budget {least - 1} does not pay for more seeds of one prompt, which take {least}" in line
        for line in lines
    )
    assert digests(run) == before
    assert not (tmp_path / "run").exists()
    assert run_flashbulb("recover", run, *RECOVERY_OPTIONS, "--seed-budget", least).code == 0
    assert len([*run.glob("images/*/seed-7.png")]) == 1


def test_more_steps_than_the_scheduler_has_are_refused_before_anything_is_recorded(at, inputs, tmp_path):
    run, steps = at("detected"), ("--sample-steps", 1001)
    before = digests(run)
    for line in (
        refused("recover", run, *RECOVERY_OPTIONS, *steps),
        refused("audit", *inputs.options(tmp_path / "run"), *steps),
    ):
        assert "cannot plan 1001 steps" in line
    assert digests(run) == before
    assert not (tmp_path / "run").exists()
    answer = run_flashbulb("audit", *inputs.options(tmp_path / "run"), *steps, "--max-sampled", "0")
    assert answer.code == 0, answer.err


def test_run_directory_cannot_make_a_stage_run_code(at):
    """Pickled weights and the weights of a descriptor are loaded only if the command line says so."""
    run = at("detected")
    edit_run_json(run, "settings", "allow_pickle", value=True)
    edit_run_json(run, "settings", "descriptor", value="sscd-disc-large")
    edit_run_json(run, "settings", "descriptor_weights", value=str(run / "weights.pt"))
    assert "--descriptor and --descriptor-weights belong together" in refused("recover", run)
    edit_run_json(run, "settings", "descriptor", value=None)
    assert run_flashbulb("recover", run, *RECOVERY_OPTIONS, "--max-sampled", "0").code == 0
    assert run_json(run)["settings"]["allow_pickle"] is False


@pytest.mark.parametrize(
    ("stage", "options", "expected"),
    [
        ("detect", ("--fpr", "2"), "--fpr: "),
        ("recover", ("--samples", "1"), "--samples: "),
        ("recover", ("--strategy", "ascend"), "every recovery starts with sample"),
        ("recover", ("--strategy", "dream"), "--strategy: "),
        ("recover", ("--train-images", "nowhere"), "no nowhere"),
    ],
)
def test_a_mistake_in_a_later_stage_changes_nothing(at, stage, options, expected):
    run = at("detected")
    before = digests(run)
    assert expected in refused(stage, run, *options)
    assert digests(run) == before


@pytest.mark.parametrize("mistake", [mistake for mistake in MISTAKES if mistake.__name__ != "impossible_rate"])
def test_record_refuses_the_same_mistakes_as_audit(inputs, tmp_path, mistake):
    changes, expected = mistake(inputs, tmp_path)
    if "--train-images" in changes:
        pytest.skip("an option of recovery")
    valid = recording(inputs, tmp_path / "run")
    options = dict(zip(valid[::2], valid[1::2], strict=True)) | changes
    line = refused("record", *(part for option in options.items() for part in option))
    assert expected in line
    assert not (tmp_path / "run").exists()


DAMAGE = {
    "torn recording": ("activations/recording.json", b'{"identity'),
    "a list": ("activations/recording.json", b"[]"),
    "an empty object": ("activations/recording.json", b"{}"),
    "not UTF-8": ("activations/recording.json", b"\xff\xfe"),
    "torn prompts": ("activations/candidates/prompts.parquet", b"PAR1"),
    "torn shard": ("activations/reference/step/part-00000.parquet", b"PAR1"),
    "torn run.json": ("run.json", b'{"schema_version": 3, "identity"'),
    "a bare run.json": ("run.json", b'{"schema_version": 3, "identity": {"recording": {}}, "status": "recorded"}'),
    "settings of nothing": (
        "run.json",
        b'{"schema_version": 3, "identity": {"recording": {}}, "status": "recorded", "settings": {}}',
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_recording_is_one_line(at, kind):
    run = at("recorded")
    name, content = DAMAGE[kind]
    (run / name).write_bytes(content)
    before = digests(run)
    assert refused("detect", run, code=2 if name == "run.json" else 3)
    assert digests(run) == before
