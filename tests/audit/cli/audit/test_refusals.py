"""A command that is refused, however late, leaves the results of the commands before it as they were."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.execute.coordinator import WorkersLost
from flashbulb.audit.settings import SettingsError
from flashbulb.audit.stages import discover
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from tests.audit.commands import CANDIDATES, digests, refused, run_flashbulb, run_json, text_file
from tests.audit.conftest import RECOVERY_OPTIONS, Inputs
from tests.audit.searches import build_worded_pipe, quick
from tests.toy import build_toy_pipe

STALE = TrainingImagesError("an image changed during the audit")


def _raises(error: Exception) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def results(folder: Path) -> dict[str, str]:
    """Hash the files of a folder, without what a stage resumes from, which belongs to no result."""
    hidden = ("activations/", "recovery/", "matches/")
    return {name: digest for name, digest in digests(folder).items() if not any(part in name for part in hidden)}


def noise(path: Path, seed: int, side: int = 16) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


class Indexed(NamedTuple):
    """A finished audit with an index of training images, its options, and the folder that is indexed."""

    run: Path
    options: tuple[object, ...]
    images: Path


@pytest.fixture
def indexed(at: Callable[[str], Path], inputs: Inputs, tmp_path: Path) -> Indexed:
    """The image that a sample copies is indexed beside another one."""
    detected = at("detected")
    before = Path(shutil.copytree(detected, tmp_path / "before"))
    assert run_flashbulb("recover", before, *RECOVERY_OPTIONS).code == 0
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(next(before.glob("images/*/seed-1.png")), images / "secret.png")
    noise(images / "other.png", seed=1)
    assert run_flashbulb("index", images, tmp_path / "index").code == 0
    options = (*RECOVERY_OPTIONS, "--train-images", tmp_path / "index")
    assert run_flashbulb("recover", detected, *options).code == 0
    assert any(detected.glob("matches/*.safetensors"))
    return Indexed(detected, options, images)


def test_a_recovery_from_a_stale_index_leaves_the_last_one(indexed: Indexed) -> None:
    before = results(indexed.run)
    noise(indexed.images / "secret.png", seed=2, side=20)
    changed: tuple[tuple[object, ...], ...] = ((), ("--samples", "3"), ("--no-images",), ("--sample-steps", "3"))
    for options in changed:
        line = refused("recover", indexed.run, *indexed.options, *options)
        assert "secret.png changed during the audit or since it was indexed" in line
        assert results(indexed.run) == before, options
    assert run_json(indexed.run)["status"] == "complete"
    assert run_flashbulb("gate", indexed.run).code in (0, 1)


def test_an_audit_that_is_refused_at_its_end_leaves_the_last_one(
    finished, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [copied if option == finished.run else option for option in finished.options]
    before = results(copied)
    with monkeypatch.context() as patch:
        patch.setattr("flashbulb.audit.stages.recover.write_results", _raises(STALE))
        refused("audit", *options)
    assert results(copied) == before
    with monkeypatch.context() as patch:
        patch.setattr("flashbulb.audit.stages.detect.write_detected", _raises(STALE))
        refused("detect", copied, "--fpr", "0.1")
    assert results(copied) == before


def test_an_unfinished_audit_that_is_refused_states_no_verdict(
    at: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = at("detected")
    monkeypatch.setattr("flashbulb.audit.stages.recover.write_results", _raises(STALE))
    refused("recover", run, *RECOVERY_OPTIONS)
    assert run_json(run)["status"] == "failed"
    assert not (run / "report.html").exists()


def test_a_refused_comparison_leaves_the_last_one(inputs: Inputs, tmp_path: Path) -> None:
    build_toy_pipe(seed=1).save_pretrained(tmp_path / "finetune")
    (tmp_path / "images").mkdir()
    noise(tmp_path / "images" / "a.png", seed=1)
    assert run_flashbulb("index", tmp_path / "images", tmp_path / "index").code == 0
    prompts = text_file(tmp_path / "prompts.txt", CANDIDATES[:2])
    words = ("compare", inputs.model, tmp_path / "finetune", "--prompts", prompts, "--train-images", tmp_path / "index")
    words = (*words, "--samples", "2", "--sample-steps", "2", "--out", tmp_path / "out")
    answer = run_flashbulb(*words)
    assert answer.code == 0, answer.err
    before = results(tmp_path / "out")
    noise(tmp_path / "images" / "a.png", seed=2, side=20)
    assert "a.png changed during the audit or since it was indexed" in refused(*words)
    assert results(tmp_path / "out") == before


def test_a_refused_pull_leaves_the_last_one(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for seed in range(2):
        noise(tmp_path / "images" / f"{seed}.png", seed)
    assert run_flashbulb("index", tmp_path / "images", tmp_path / "index").code == 0
    budget = ("--no-examine", "--budget", "16", "--out", tmp_path / "run")
    words = ("pull", inputs.model, tmp_path / "index", *budget)
    answer = run_flashbulb(*words)
    assert answer.code == 0, answer.err
    before = results(tmp_path / "run")
    assert "--budget 15 does not pay for the ranks" in refused(*words, "--budget", "15")
    assert results(tmp_path / "run") == before
    noise(tmp_path / "images" / "1.png", seed=2, side=20)
    assert "1.png changed during the audit or since it was indexed" in refused(*words)
    assert results(tmp_path / "run") == before


def test_a_refused_calibration_leaves_the_last_one(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("calibrate", "--model", inputs.model, "--reference", inputs.reference, "--seeds", "2")
    words = (*words, "--out", tmp_path / "calibration")
    answer = run_flashbulb(*words)
    assert answer.code == 0, answer.err
    before = digests(tmp_path / "calibration")
    monkeypatch.setattr(
        "flashbulb.audit.stages.calibrate.record_prompt_set", _raises(WorkersLost("all workers are lost"))
    )
    refused(*words)
    assert digests(tmp_path / "calibration") == before


def test_a_refused_discovery_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_worded_pipe().save_pretrained(tmp_path / "model")
    (tmp_path / "images").mkdir()
    noise(tmp_path / "images" / "a.png", seed=1)
    assert run_flashbulb("index", tmp_path / "images", tmp_path / "index").code == 0
    settings = quick(model=str(tmp_path / "model"), out=tmp_path / "run", patience=1, train_images=tmp_path / "index")
    discover.run_discovery(settings, force=False)
    before = results(tmp_path / "run")

    def refuse(reason: type[Exception]) -> None:
        with pytest.raises(reason):
            discover.run_discovery(settings, force=False)
        assert results(tmp_path / "run") == before

    with monkeypatch.context() as patch:
        patch.setattr(discover, "write_discovery_results", _raises(SettingsError("late")))
        refuse(SettingsError)
    (tmp_path / "index" / "hashes.u64").write_bytes(b"")
    refuse(TrainingImagesError)


def test_an_index_that_cannot_be_built_leaves_the_last_one(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    noise(tmp_path / "images" / "a.png", seed=1)
    assert run_flashbulb("index", tmp_path / "images", tmp_path / "index").code == 0
    before = digests(tmp_path / "index")
    (tmp_path / "images" / "a.png").write_bytes(b"no image")
    assert "no training image that can be read" in refused("index", tmp_path / "images", tmp_path / "index")
    assert digests(tmp_path / "index") == before
