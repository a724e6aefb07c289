"""`engram discover` on a real toy pipeline: what it finds is confirmed, and a mistake is one line."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from audit.findings import Outcome, judge
from reports.discovery import load_discovery
from tests.audit.commands import Answer, digests, engram, run_json
from tests.audit.conftest import Inputs
from tests.audit.searches import ToldVerifier, build_worded_pipe

ROUND = ("--starts", "2", "--steps", "1")
BUDGET = 400 + 2 * (3 + 3 * 15 + 6 + 2)  # the baseline's captions and one round


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved toy pipeline whose tokenizer knows words; leave it as it was."""
    folder = tmp_path_factory.mktemp("searched") / "model"
    build_worded_pipe().save_pretrained(folder)
    return folder


@pytest.fixture
def dull_model(model: Path, tmp_path: Path) -> Path:
    """The same with an autoencoder so dull that the pictures of all seeds agree."""
    dull = Path(shutil.copytree(model, tmp_path / "dull"))
    weights = dull / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["decoder.conv_out.weight"] *= 0.4
    save_file(tensors, weights, metadata={"format": "pt"})
    return dull


def judge_likely(*given: Any, **named: Any) -> Outcome:
    """Judge as ever, but take whatever is looked at closely for a memory."""
    return replace(judge(*given, **named), verdict="likely")


def refused(answer: Answer, code: int = 2) -> str:
    """The one line of error that a command ends with."""
    assert answer.code == code, answer
    assert len(answer.errors) == 1, answer.err
    assert answer.err.splitlines()[-1] == answer.errors[0]
    assert "Traceback" not in answer.err
    return answer.errors[0]


def test_picture_that_the_model_gives_back_is_found_without_any_caption(
    dull_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("discover", dull_model, "--budget", BUDGET, *ROUND)
    with monkeypatch.context() as patch:  # to get hold of a picture that the model gives
        patch.setattr("audit.recover.discover.judge", judge_likely)
        assert engram(*given, "--out", tmp_path / "before").code == 0
    (tmp_path / "training").mkdir()
    shutil.copy(tmp_path / "before" / "images" / "finding-001.png", tmp_path / "training" / "secret.png")
    run = tmp_path / "run"
    answer = engram(*given, "--out", run, "--train-images", tmp_path / "training")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("finding-001  likely")  # its samples share a part of the picture
    record = load_discovery(run)
    assert (record.n_confirmed, record.n_likely, record.n_rounds, record.n_starts) == (0, 1, 1, 2)
    assert record.findings[0].nearest_image == str(tmp_path / "training" / "secret.png")
    assert sum(record.evaluations.values()) <= BUDGET
    with Image.open(run / "images" / "finding-001.png") as image:
        assert image.size == (16, 16)
    again = engram(*given, "--out", run, "--train-images", tmp_path / "training")
    assert (again.code, load_discovery(run).findings) == (0, record.findings)


def test_model_of_random_weights_has_nothing_to_find(model: Path, tmp_path: Path) -> None:
    answer = engram("discover", model, "--budget", BUDGET, *ROUND, "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "0 confirmed, 0 likely" in answer.out
    assert load_discovery(tmp_path / "run").findings == ()
    assert not list(tmp_path.rglob("finding-*.png"))


def test_ctrl_c_says_how_to_go_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.discovering.Verifier", partial(ToldVerifier, shown={}, interrupted_in=0))
    answer = engram("discover", model, "--minutes", "9", *ROUND, "--out", tmp_path / "run")
    assert "run the same command again to go on" in refused(answer, code=130)
    assert run_json(tmp_path / "run")["status"] == "discovering"
    assert "is of a discovery" in refused(engram("gate", tmp_path / "run"), code=3)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "give --budget in UNet evaluations, --minutes, or both"),
        (("--budget", "0"), "--budget: "),
        (("--budget", "401"), "--budget 401 does not pay for one start"),
        (("--budget", "9999", "--minutes", "0"), "--minutes: "),
        (("--budget", "9999", "--train-images", "/nowhere/pictures"), "no /nowhere/pictures; give --train-images"),
        (("--budget", "9999", "--device", "abacus"), "abacus"),
        (("--budget", "9999", "--starts", "0"), "--"),
        (("--budget", "9999", "--rate", "0"), "--"),
    ],
)
def test_mistake_is_one_line_and_writes_nothing(
    model: Path, tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    assert line in refused(engram("discover", model, *options, "--out", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_unknown_model_is_one_line(tmp_path: Path) -> None:
    answer = engram("discover", tmp_path / "nowhere", "--budget", "9999", "--out", tmp_path / "run")
    assert "no model folder" in refused(answer)
    assert not (tmp_path / "run").exists()


def test_folder_of_someone_else_is_left_alone(model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    before = digests(tmp_path)
    for force in ((), ("--force",)):
        answer = engram("discover", model, "--budget", "9999", "--out", tmp_path, *force)
        assert "choose another --out" in refused(answer)
    assert digests(tmp_path) == before


def test_tokenizer_without_whole_words_is_one_line(inputs: Inputs, tmp_path: Path) -> None:
    answer = engram("discover", inputs.model, "--budget", "9999", "--out", tmp_path / "run")
    assert "marks no whole words" in refused(answer)


def test_model_that_is_not_a_number_is_distrusted(model: Path, tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(model, tmp_path / "model"))
    (weights,) = (spoilt / "unet").glob("*.safetensors")
    tensors = load_file(weights)
    tensors[max(name for name in tensors if "ff.net.2" in name)].fill_(torch.nan)
    save_file(tensors, weights, metadata={"format": "pt"})
    answer = engram("discover", spoilt, "--budget", "9999", *ROUND, "--out", tmp_path / "run")
    assert "not finite" in refused(answer, code=3)
