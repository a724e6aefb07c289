"""`flashbulb discover` on a toy pipeline finds memorized images, and every mistake is one line."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flashbulb.audit.recover.outcome import Outcome, judge
from flashbulb.reports.views.discovery import load_discovery
from tests.audit.cli.conftest import N_NEUTRAL
from tests.audit.commands import digests, error_line, run_flashbulb, run_json
from tests.audit.conftest import Inputs
from tests.audit.searches import ToldVerifier, build_worded_pipe

ROUND = ("--starts", "2", "--steps", "1", "--text-starts", "1")
LEAST = N_NEUTRAL + 3 + 3 * 15 + 6 + 2  # the baseline's prompts and one start
BUDGET = N_NEUTRAL + 2 * (3 + 3 * 15 + 6 + 2 + 12)  # and one round

pytestmark = pytest.mark.usefixtures("short_searches")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved toy pipeline whose tokenizer has word tokens. Read-only."""
    folder = tmp_path_factory.mktemp("searched") / "model"
    build_worded_pipe().save_pretrained(folder)
    return folder


@pytest.fixture
def flat_model(model: Path, tmp_path: Path) -> Path:
    """The same pipeline with an autoencoder of such low contrast that the images of all seeds agree."""
    flat = Path(shutil.copytree(model, tmp_path / "flat"))
    weights = flat / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["decoder.conv_out.weight"] *= 0.4
    save_file(tensors, weights, metadata={"format": "pt"})
    return flat


def judge_likely(*args: Any, **kwargs: Any) -> Outcome:
    """Judge as usual, but return the verdict `likely`."""
    return replace(judge(*args, **kwargs), verdict="likely")


def test_memorized_image_is_found_without_any_prompt(
    flat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("discover", flat_model, "--budget", BUDGET, *ROUND)
    with monkeypatch.context() as patch:  # to obtain an image that the model produces
        patch.setattr("flashbulb.audit.discover.search.judge", judge_likely)
        assert run_flashbulb(*options, "--out", tmp_path / "before").code == 0
    (tmp_path / "training").mkdir()
    shutil.copy(tmp_path / "before" / "images" / "finding-001.png", tmp_path / "training" / "secret.png")
    run = tmp_path / "run"
    answer = run_flashbulb(*options, "--out", run, "--train-images", tmp_path / "training")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("finding-001  likely")  # its samples share a part of the image
    record = load_discovery(run)
    assert (record.n_confirmed, record.n_likely, record.n_rounds, record.n_starts) == (0, 1, 1, 2)
    assert record.findings[0].nearest_image == str(tmp_path / "training" / "secret.png")
    assert sum(record.evaluations.values()) <= BUDGET
    with Image.open(run / "images" / "finding-001.png") as image:
        assert image.size == (16, 16)
    again = run_flashbulb(*options, "--out", run, "--train-images", tmp_path / "training")
    assert (again.code, load_discovery(run).findings) == (0, record.findings)


def test_model_of_random_weights_has_nothing_to_find(model: Path, tmp_path: Path) -> None:
    answer = run_flashbulb("discover", model, "--budget", BUDGET, *ROUND, "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "0 confirmed, 0 likely" in answer.out
    assert load_discovery(tmp_path / "run").findings == ()
    assert not list(tmp_path.rglob("finding-*.png"))


def test_ctrl_c_prints_how_to_resume(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashbulb.audit.stages.discover.Verifier", partial(ToldVerifier, shown={}, interrupted_in=0))
    answer = run_flashbulb("discover", model, "--minutes", "9", *ROUND, "--out", tmp_path / "run")
    assert "run the same command again to resume" in error_line(answer, code=130)
    assert run_json(tmp_path / "run")["status"] == "discovering"
    assert "belongs to a discovery" in error_line(run_flashbulb("gate", tmp_path / "run"), code=3)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "give --budget (denoiser evaluations), --minutes, or both"),
        (("--budget", "0"), "--budget: "),
        (("--budget", str(N_NEUTRAL + 1)), f"--budget {N_NEUTRAL + 1} does not pay for one start"),
        (("--budget", "9", "--steps", "1", "--text-starts", "2"), f"at least {LEAST + 16}, or {LEAST} with --text-"),
        (("--budget", "9999", "--minutes", "0"), "--minutes: "),
        (("--budget", "9999", "--train-images", "/nowhere/images"), "no /nowhere/images; give --train-images"),
        (("--budget", "9999", "--device", "abacus"), "abacus"),
        (("--budget", "9999", "--starts", "0"), "--"),
        (("--budget", "9999", "--rate", "0"), "--"),
        (("--budget", "9999", "--rate", "1e300"), "--rate: Input should be less than or equal to 1000000, got 1e+300"),
        (("--budget", "9999", "--starts-from", "/nowhere/text.txt"), "/nowhere/text.txt: No such file"),
        (("--budget", "9999", "--starts-from", __file__), "unknown prompt format '.py'"),
        (("--budget", "9999", "--stop-at", "1"), "--stop-at: "),
    ],
)
def test_mistake_is_one_line_and_writes_nothing(
    model: Path, tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    assert line in error_line(run_flashbulb("discover", model, *options, "--out", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_search_that_was_refused_before_its_first_round_begins_with_other_settings(
    model: Path, tmp_path: Path
) -> None:
    options = ("discover", model, *ROUND, "--out", tmp_path / "run")
    assert "give more" in error_line(run_flashbulb(*options, "--minutes", "1e-6"))
    assert run_flashbulb(*options, "--seed", "1", "--budget", BUDGET).code == 0


def test_unknown_model_is_one_line(tmp_path: Path) -> None:
    answer = run_flashbulb("discover", tmp_path / "nowhere", "--budget", "9999", "--out", tmp_path / "run")
    assert "no model folder" in error_line(answer)
    assert not (tmp_path / "run").exists()


def test_folder_with_other_files_is_left_unchanged(model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    before = digests(tmp_path)
    for force in ((), ("--force",)):
        answer = run_flashbulb("discover", model, "--budget", "9999", "--out", tmp_path, *force)
        assert "choose another --out" in error_line(answer)
    assert digests(tmp_path) == before


def test_tokenizer_that_does_not_mark_words_is_one_line(inputs: Inputs, tmp_path: Path) -> None:
    answer = run_flashbulb("discover", inputs.model, "--budget", "9999", "--out", tmp_path / "run")
    assert "has no complete words" in error_line(answer)


def test_model_with_nan_weights_is_not_trusted(model: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(model, tmp_path / "model"))
    (weights,) = (damaged / "unet").glob("*.safetensors")
    tensors = load_file(weights)
    tensors[max(name for name in tensors if "ff.net.2" in name)].fill_(torch.nan)
    save_file(tensors, weights, metadata={"format": "pt"})
    answer = run_flashbulb("discover", damaged, "--budget", "9999", *ROUND, "--out", tmp_path / "run")
    assert "not finite" in error_line(answer, code=3)
