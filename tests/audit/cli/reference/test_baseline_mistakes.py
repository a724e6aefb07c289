"""`--baseline-model`: a base that is none, and a run that contradicts itself about it, are refused in one line."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.tables.files import RunIncompleteError, sha256_of
from tests.audit.commands import (
    edit_run_json,
    refused,
    run_flashbulb,
)
from tests.reports.run_files import seal_again
from tests.toy import build_toy_pipe, build_toy_xl_pipe


def test_another_base_is_refused_for_a_recorded_run(pair, audited_pair, tmp_path):
    build_toy_pipe(seed=1).save_pretrained(tmp_path / "other")
    options = [tmp_path / "other" if option == pair.base else option for option in pair.options(audited_pair)]
    assert "base_fingerprint" in refused("audit", *options)


def test_the_model_itself_is_no_base(pair, tmp_path):
    options = [pair.finetune if option == pair.base else option for option in pair.options(tmp_path / "run")]
    line = refused("audit", *options)
    assert "is the model itself" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (build_toy_xl_pipe, "Stable Diffusion XL"),
        (lambda: build_toy_pipe(use_linear_projection=True), None),
    ],
    ids=["another family", "the same neurons in other layers"],
)
def test_a_base_needs_the_family_and_the_neurons_of_the_model(pair, tmp_path, build, complaint):
    build().save_pretrained(tmp_path / "other")
    options = [tmp_path / "other" if option == pair.base else option for option in pair.options(tmp_path / "run")]
    if complaint is None:
        assert run_flashbulb("validate", *options).code == 0
    else:
        assert complaint in refused("audit", *options)


def test_a_base_of_other_sizes_is_refused(pair, tmp_path):
    pipe = build_toy_pipe()
    config = {**pipe.unet.config, "block_out_channels": (32, 96)}
    pipe.unet = type(pipe.unet).from_config({k: v for k, v in config.items() if not k.startswith("_")})
    pipe.save_pretrained(tmp_path / "other")
    options = [tmp_path / "other" if option == pair.base else option for option in pair.options(tmp_path / "run")]
    assert "has other neurons than the model" in refused("audit", *options)


def test_a_calibration_of_one_model_is_refused(pair, tmp_path):
    folder = tmp_path / "calibration"
    words = ("--model", pair.finetune, "--reference", pair.reference, "--out", folder, "--seeds", "2")
    assert run_flashbulb("calibrate", *words).code == 0
    models = ("--model", pair.finetune, "--baseline-model", pair.base)
    line = refused("audit", *models, "--prompts", pair.prompts, "--calibration", folder, "--out", tmp_path / "run")
    assert "--baseline-model needs reference prompts recorded on both models" in line


def test_extrapolation_needs_a_base(inputs, tmp_path):
    line = refused("audit", *inputs.options(tmp_path / "run"), "--strategy", "extrapolate")
    assert "give --baseline-model" in line


def test_a_run_whose_spikes_are_of_the_fine_tune_alone_is_refused(audited_pair, tmp_path):
    run = Path(shutil.copytree(audited_pair, tmp_path / "run"))
    table = pq.read_table(run / "spikes.parquet").drop_columns(["z_base"])
    pq.write_table(table, run / "spikes.parquet")
    edit_run_json(run, "tables", "spikes.parquet", value=sha256_of(run / "spikes.parquet"))
    seal_again(run)
    with pytest.raises(RunIncompleteError, match="names a base model"):
        load_checked(run)


def test_a_count_of_what_the_base_knew_that_the_table_does_not_hold_is_refused(audited_pair, tmp_path):
    run = Path(shutil.copytree(audited_pair, tmp_path / "run"))
    edit_run_json(run, "counts", "n_known_by_base", value=0)
    with pytest.raises(RunIncompleteError, match="known by the base"):
        load_checked(run)
