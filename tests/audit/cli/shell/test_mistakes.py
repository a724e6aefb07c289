"""Every mistake gives one error line and the right exit code, and overwrites nothing."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.audit.cli.mistakes import MISTAKES
from tests.audit.commands import (
    CANDIDATES,
    QUICK,
    digests,
    only_error_line,
    refused,
    run_flashbulb,
    run_json,
    text_file,
)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_line_and_changes_nothing(inputs, tmp_path, mistake):
    changes, expected = mistake(inputs, tmp_path)
    valid = inputs.options(tmp_path / "run")
    options = dict(zip(valid[::2], valid[1::2], strict=True)) | changes
    before = digests(tmp_path)
    line = refused("audit", *(part for option in options.items() for part in option))
    assert expected in line
    assert digests(tmp_path) == before
    assert not (tmp_path / "run").exists()


def test_folder_without_training_images_leaves_an_untrusted_run(inputs, tmp_path):
    (tmp_path / "images").mkdir()
    options = (*inputs.options(tmp_path / "run"), "--train-images", tmp_path / "images")
    assert "no training image" in refused("audit", *options)
    assert refused("gate", tmp_path / "run", code=3)


@pytest.mark.parametrize("command", ["audit", "record", "validate"])
def test_prompts_without_a_model_are_refused(inputs, tmp_path, command):
    for given in ((), ("--prompts", inputs.prompts)):
        line = refused(command, *given, "--out", tmp_path / "run")
        assert "--model is missing" in line
        assert "flashbulb demo" in line
    assert not (tmp_path / "run").exists()


def test_a_model_needs_prompts(inputs):
    assert "--prompts is missing" in refused("audit", "--model", inputs.model)
    images = ("--train-images", "my images")
    assert f"flashbulb pull {inputs.model} 'my images'" in refused("audit", "--model", inputs.model, *images)


def test_one_candidate_cannot_calibrate_itself(inputs, tmp_path):
    prompts = text_file(tmp_path / "p.txt", ["a star"])
    options = ("--model", inputs.model, "--prompts", prompts, "--out", tmp_path / "run")
    assert "give more with --reference" in refused("audit", *options)


def test_column_of_the_reference_has_its_own_option(inputs, tmp_path):
    reference = text_file(tmp_path / "r.csv", ["text,caption", "a,b"])
    options = inputs._replace(reference=reference).options(tmp_path / "run")
    assert "has 1" in refused("audit", *options, "--reference-column", "caption")


def test_run_of_another_audit_is_left_unchanged(finished, copied, tmp_path):
    options = [copied if value == finished.run else value for value in finished.options]
    before = digests(copied)
    line = refused("audit", *options, "--guidance-scale", "5")
    assert "settings.guidance_scale was 3.0, now 5.0" in line
    assert "--force" in line
    options[3] = text_file(tmp_path / "other.txt", CANDIDATES[1:])
    line = refused("audit", *options)
    assert "prompts_sha256 was" in line
    assert digests(copied) == before


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_folder_with_other_files_is_never_emptied(inputs, tmp_path, force):
    (tmp_path / "out").mkdir()
    text_file(tmp_path / "out" / "thesis.txt", ["years of work"])
    assert "choose another --out" in refused("audit", *inputs.options(tmp_path / "out"), *force)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work\n"
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_model_whose_activations_overflow_is_not_trusted(inputs, tmp_path, part):
    model = Path(shutil.copytree(inputs.model, tmp_path / "model"))
    (weights,) = (model / part).glob("*.safetensors")
    tensors = load_file(weights)
    tensors[max(tensors, key=lambda name: ("ff.net.2" in name or "fc2" in name, name))].fill_(3e38)
    save_file(tensors, weights, metadata={"format": "pt"})
    line = refused("audit", *inputs._replace(model=model).options(tmp_path / "run"), code=3)
    assert "not finite" in line
    assert run_json(tmp_path / "run")["status"] == "untrusted"
    assert refused("gate", tmp_path / "run", code=3)


def test_error_lines_hold_no_control_characters(tmp_path):
    line = refused("audit", "--prompts", f"{tmp_path}/\x1b[31mred\n", "--model", "x")
    assert "\x1b" not in line


def test_sites_of_a_model_are_listed(inputs):
    answer = run_flashbulb("sites", inputs.model)
    assert answer.code == 0
    for kind in ("text_mlp", "cross_k", "cross_v", "cross_out", "feed_forward"):
        assert f"{kind}: " in answer.out
    assert "model_index.json" in refused("sites", inputs.prompts.parent)


@pytest.mark.parametrize("arguments", [["audit", "--nope"], ["audit", "--seeds", "many"], ["gate"], ["judge"]])
def test_invalid_options_are_one_line(arguments):
    assert only_error_line(run_flashbulb(*arguments)).startswith("flashbulb: ")


def test_run_json_records_the_given_settings(finished):
    settings = run_json(finished.run)["settings"]
    expected = {"n_seeds": 2, "n_samples": 2, "sample_steps": 2, "fpr": 0.2, "strategies": ["sample"]}
    assert {name: settings[name] for name in expected} == expected
    assert len(QUICK) == 2 * len(expected)
    assert json.dumps(settings)
