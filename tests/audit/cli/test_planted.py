"""`flashbulb planted` trains, lists the presets, and reports every mistake in one line with the right exit code."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flashbulb.audit.planted import recipe
from flashbulb.audit.planted.paths import IMAGES
from flashbulb.audit.planted.presets import ABOUT, PRESETS
from tests.audit.commands import ROOT, refused, run_flashbulb


def train(out: Path, *more: object) -> tuple[object, ...]:
    return ("planted", "train", "--out", out, "--device", "cpu", *more)


def test_help_does_not_load_the_model_libraries() -> None:
    code = "import sys, flashbulb.audit.cli.planted; assert not {'torch', 'diffusers', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_help_names_the_folder_of_the_training_images() -> None:
    assert f" {IMAGES.name}/," in run_flashbulb("planted", "train", "--help").out


def test_both_modules_run_the_command() -> None:
    answers = [
        subprocess.run(
            [sys.executable, "-m", module, "planted", "train", "--preset", "none"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        for module in ("flashbulb", "flashbulb.audit")
    ]
    assert [answer.returncode for answer in answers] == [2, 2]
    assert answers[0].stderr == answers[1].stderr
    assert answers[0].stderr.count("\n") == 1


def test_options_reach_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(recipe, "train_planted", lambda *arguments: calls.append(arguments))
    monkeypatch.chdir(tmp_path)
    assert run_flashbulb(*train(tmp_path / "out", "--preset", "faint")).code == 0
    assert run_flashbulb("planted", "train", "--device", "cpu").code == 0
    assert calls == [
        (PRESETS["faint"], tmp_path / "out", torch.device("cpu")),
        (PRESETS["posters"], Path("runs") / "planted-posters", torch.device("cpu")),
    ]


def test_a_finished_folder_is_one_line_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()
    assert "already holds a planted model" in refused(*train(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_checkpoints_of_another_recipe_are_one_line(tmp_path: Path) -> None:
    (tmp_path / ".training").mkdir()
    (tmp_path / ".training" / "preset.txt").write_text(repr(replace(PRESETS["posters"], seed=9)))
    assert "delete it to start over" in refused(*train(tmp_path))


def test_folder_that_cannot_be_created_is_one_line_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(*train(tmp_path / "file" / "out"))


def test_unknown_preset_is_one_line_that_lists_the_known_ones(tmp_path: Path) -> None:
    line = refused(*train(tmp_path, "--preset", "sculptures"))
    assert all(name in line for name in PRESETS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_device_is_one_line(tmp_path: Path) -> None:
    assert "no CUDA device" in refused("planted", "train", "--out", tmp_path / "out", "--device", "cuda")
    assert not (tmp_path / "out").exists()


def test_interrupt_prints_how_to_resume_and_exits_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "train_planted", interrupted)
    assert "run the same command again to resume" in refused(*train(tmp_path), code=130)


def test_every_preset_is_listed_with_its_description() -> None:
    answer = run_flashbulb("planted", "list")
    assert answer.code == 0
    assert PRESETS.keys() == ABOUT.keys()
    for name, about in ABOUT.items():
        assert f"{name}: {about}" in answer.out
    listed = json.loads(run_flashbulb("planted", "list", "--json").out)["presets"]
    assert [preset["name"] for preset in listed] == list(PRESETS)
    assert all(preset["about"] == ABOUT[preset["name"]] for preset in listed)
