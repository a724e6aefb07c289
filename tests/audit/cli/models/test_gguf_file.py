"""`--denoiser FILE` audits a pipeline whose denoiser is a GGUF file, and a run restores it."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("gguf")

from tests.audit.commands import error_line, run_flashbulb, run_json, scores_of
from tests.audit.conftest import Finished, Inputs
from tests.audit.files.gguf import stability_weights, write_gguf

LOCALIZED = ("--samples", "2", "--sample-steps", "2", "--points", "1", "--controls", "0", "--no-again")


@pytest.mark.slow
def test_a_gguf_denoiser_is_audited_and_restored(toy_pipe, inputs: Inputs, finished: Finished, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "unet.gguf", stability_weights(toy_pipe.unet), "Q8_0")
    options = ("--denoiser", file, "--train-images", finished.run.parent / "training")
    ascending = ("--strategy", "ascend", "--ascend-steps", "2", "--ascend-restarts", "1")
    answer = run_flashbulb("audit", *inputs.options(tmp_path / "run"), *options, *ascending)
    assert answer.code == 0, answer.err
    ours, theirs = run_json(tmp_path / "run"), run_json(finished.run)
    assert ours["model"]["name"] == f"{inputs.model} + {file}"
    assert ours["model"]["fingerprint"] != theirs["model"]["fingerprint"]
    scores, plain = (scores_of(run).spike_score.to_numpy() for run in (tmp_path / "run", finished.run))
    assert abs(scores - plain).max() < 0.2 * plain.max()
    for command in (("recover", tmp_path / "run", "--samples", "3"), ("localize", tmp_path / "run", *LOCALIZED)):
        answer = run_flashbulb(*command)
        assert answer.code == 0, answer.err
    assert run_flashbulb("sites", inputs.model, "--denoiser", file).code == 0
    shutil.copy(write_gguf(tmp_path / "other.gguf", stability_weights(toy_pipe.unet), "Q4_0"), file)
    assert "has fingerprint" in error_line(run_flashbulb("recover", tmp_path / "run", "--samples", "4"))
    assert "give the folder of its pipeline" in error_line(run_flashbulb("sites", file))
