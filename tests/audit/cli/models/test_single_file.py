"""`--model FILE --model-config DIR` audits a single-file checkpoint as the folder that it was made from."""

import shutil
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file

from tests.audit.commands import error_line, run_flashbulb, run_json, scores_of
from tests.audit.conftest import Finished, Inputs
from tests.audit.files.single import checkpoint_of, configs_of
from tests.toy import TEXT_WIDTH, build_toy_vae


def test_a_single_file_is_audited_as_its_folder(toy_pipe, inputs: Inputs, finished: Finished, tmp_path: Path) -> None:
    configs, file = configs_of(inputs.model, tmp_path / "configs"), tmp_path / "model.safetensors"
    save_file(checkpoint_of(toy_pipe), file)
    options = ("--model-config", configs, "--train-images", finished.run.parent / "training")
    answer = run_flashbulb("audit", *inputs._replace(model=file).options(tmp_path / "run"), *options)
    assert answer.code == 0, answer.err
    pd.testing.assert_frame_equal(scores_of(tmp_path / "run"), scores_of(finished.run), check_exact=True)
    ours, theirs = run_json(tmp_path / "run"), run_json(finished.run)
    assert ours["verdict"] == theirs["verdict"]
    assert ours["model"]["name"] == str(file)
    assert ours["model"]["fingerprint"] != theirs["model"]["fingerprint"]
    localized = ("--samples", "2", "--sample-steps", "2", "--points", "1", "--controls", "0", "--no-again")
    for command in (("recover", tmp_path / "run", "--samples", "3"), ("localize", tmp_path / "run", *localized)):
        answer = run_flashbulb(*command)
        assert answer.code == 0, answer.err
    shutil.rmtree(configs)
    assert "--model-config" in error_line(run_flashbulb("recover", tmp_path / "run", "--samples", "4"))
    assert "give with --model-config" in error_line(run_flashbulb("sites", file))


def test_an_autoencoder_and_a_textual_inversion_are_restored_by_a_run(inputs: Inputs, tmp_path: Path) -> None:
    build_toy_vae(8).save_pretrained(tmp_path / "vae")
    inversion = tmp_path / "style.safetensors"
    save_file({"<style>": torch.ones(2, TEXT_WIDTH)}, inversion)
    added = ("--vae", tmp_path / "vae", "--textual-inversion", inversion)
    answer = run_flashbulb("audit", *inputs.options(tmp_path / "run"), *added)
    assert answer.code == 0, answer.err
    fingerprint = run_json(tmp_path / "run")["model"]["fingerprint"]
    assert run_json(tmp_path / "run")["model"]["name"] == f"{inputs.model} + {tmp_path / 'vae'} + {inversion}"
    answer = run_flashbulb("recover", tmp_path / "run", "--samples", "3")
    assert answer.code == 0, answer.err
    answer = run_flashbulb("audit", "--replay", tmp_path / "run", "--max-sampled", "0", "--out", tmp_path / "again")
    assert answer.code == 0, answer.err
    assert run_json(tmp_path / "again")["model"]["fingerprint"] == fingerprint
    assert run_flashbulb("sites", inputs.model, *added).code == 0
    build_toy_vae(8).save_pretrained(tmp_path / "vae")
    assert "has fingerprint" in error_line(run_flashbulb("recover", tmp_path / "run", "--samples", "4"))
