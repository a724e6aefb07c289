"""Messages for the mistakes that newcomers make: each names the way out."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.loading import pipelines
from flashbulb.audit.model.loading.pipelines import load_model, resolve_device
from flashbulb.audit.planted.paths import MODEL
from tests.audit.commands import QUICK, refused, text_file
from tests.paths import ROOT
from tests.reports.runs import write_example


def test_a_file_without_an_option_is_taken_for_prompts_or_a_model(inputs: Any) -> None:
    assert "did you mean `--prompts p.txt`?" in refused("audit", "p.txt")
    assert "did you mean `--model m.safetensors`?" in refused("validate", "m.safetensors")
    assert f"did you mean `--model {inputs.model}`?" in refused("record", inputs.model)
    assert "did you mean" not in refused("audit", "p.txt", "q.txt")


@pytest.mark.parametrize(
    ("device", "expected"),
    [("gpu", "did you mean cuda?"), ("gpu:1", "did you mean cuda:1?"), ("cuda:x", "such as cuda:1"), ("tpu", "mps")],
)
def test_an_unknown_device_is_refused_before_anything_is_read(device: str, expected: str) -> None:
    line = refused("audit", "--model", "owner/name", "--prompts", "missing.txt", "--device", device)
    assert line.startswith(f"flashbulb: --device: {device!r} is no device; ")
    assert expected in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_told_from_a_build_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    for built, expected in ((None, "built without CUDA; install a build for your GPU"), ("12.8", "no GPU that its")):
        monkeypatch.setattr(torch.version, "cuda", built)
        with pytest.raises(ModelError, match=expected):
            resolve_device("cuda:1")
    assert resolve_device("auto") == "cpu"


@pytest.mark.parametrize(
    ("command", "rest"),
    [
        ("discover", ("--budget", 9000)),
        ("pull", ()),
        ("sites", ()),
        ("ablate", ("--neurons", "n.json", "--prompt", "a", "--out", "o")),
    ],
)
def test_no_command_takes_the_embedded_model_on_its_own(command: str, rest: tuple[object, ...]) -> None:
    line = refused(command, *rest)
    assert f"MODEL is missing; give a pipeline folder or hub id: flashbulb {command} MODEL" in line
    assert f"The embedded model of `flashbulb demo` is {MODEL}" in line
    assert (MODEL / "model_index.json").is_file()


@pytest.mark.parametrize("command", ["audit", "record", "validate", "calibrate"])
def test_a_model_that_is_not_given_is_asked_for(tmp_path: Path, command: str) -> None:
    calibrate = ("--reference", "r.txt", "--out", tmp_path / "out")
    line = refused(command, *(calibrate if command == "calibrate" else ("--prompts", "p.txt")))
    assert "--model is missing; give the model to audit, or see `flashbulb demo`, which needs none" in line


def test_a_missing_model_is_reported_before_the_prompts_are_read(tmp_path: Path) -> None:
    line = refused("audit", "--model", tmp_path / "nowhere", "--prompts", tmp_path / "missing.txt")
    assert f"no model folder {tmp_path / 'nowhere'}" in line


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [("--seeds", "many", "'many' is not a whole number"), ("--seeds", "2.5", "whole"), ("--fpr", "x", "not a number")],
)
def test_a_word_for_a_number_is_named(option: str, value: str, expected: str) -> None:
    line = refused("audit", option, value)
    assert line.startswith(f"flashbulb: {option}: ")
    assert expected in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_hihg = 0", "max_hihg is no key; did you mean max_high?"),
        ("max-confirmd = 0", "did you mean max_confirmed?"),
        ("colour = 1", "it has max_high"),
    ],
)
def test_a_misspelt_key_of_a_policy_is_corrected(tmp_path: Path, text: str, expected: str) -> None:
    policy = text_file(tmp_path / "policy.toml", [text])
    assert expected in refused("gate", tmp_path / "run", "--policy", policy)


def test_mistakes_in_waivers_are_named(tmp_path: Path) -> None:
    key = text_file(tmp_path / "key.toml", ["[[waiver]]", 'fingerprnt = "0123456789abcdef"'])
    assert "fingerprnt is no key; did you mean fingerprint?" in refused("gate", tmp_path, "--waivers", key)
    number = ["[[waiver]]", 'fingerprint = "12"', 'reason = "r"', 'owner = "o"', "expires = 2999-01-01"]
    short = text_file(tmp_path / "short.toml", number)
    expected = "'12' is no fingerprint, which is 16 digits and letters a to f, as `flashbulb gate` prints it"
    assert expected in refused("gate", tmp_path, "--waivers", short)
    typed = ("waivers", "add", tmp_path / "w.toml", "12", "--reason", "r", "--owner", "o", "--expires", "2999-01-01")
    assert expected in refused(*typed)


@pytest.mark.parametrize(
    ("command", "rest"),
    [
        *[(name, ()) for name in ("gate", "report", "verify", "localize")],
        *[("show", ("x",)), ("diff", ("b",)), ("evaluate", ("--labels", "l.csv"))],
    ],
)
def test_a_missing_run_says_how_to_make_one(tmp_path: Path, command: str, rest: tuple[str, ...]) -> None:
    run = tmp_path / "nowhere"
    assert f"run `flashbulb audit --out {run}` first" in refused(command, run, *rest)


@pytest.mark.parametrize("command", ["gate", "report"])
def test_a_missing_baseline_says_how_to_make_one(tmp_path: Path, command: str) -> None:
    run, older = write_example(tmp_path / "run", {}), tmp_path / "nowhere"
    assert f"run `flashbulb audit --out {older}` first" in refused(command, run, "--baseline", older)


def load_from_hub() -> str:
    with pytest.raises(ModelError) as refusal:
        load_model("owner/name", device="cpu", dtype=torch.float32, allow_pickle=False)
    return str(refusal.value)


def count_calls(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[str]:
    """Let every connection fail with `error`, and count them."""
    calls: list[str] = []

    def connect(host: str, *_rest: object, **_named: object) -> Callable[..., Any]:
        calls.append(host)
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", connect)
    return calls


def test_a_hub_that_does_not_answer_is_not_asked_for_a_minute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pipelines.constants, "HF_HUB_OFFLINE", False)
    calls = count_calls(monkeypatch, socket.gaierror(-2, "Name or service not known"))
    line = load_from_hub()
    assert "owner/name is neither a local folder nor in the hub's cache, and the hub cannot be reached" in line
    assert "hf download owner/name" in line
    assert len(calls) <= 2  # a download tries for a minute


def test_a_model_that_nobody_has_is_reported_before_prompts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines.constants, "HF_HUB_OFFLINE", True)
    line = refused("audit", "--model", "owner/name", "--prompts", "nowhere.csv")
    assert "owner/name is neither a local folder nor in the hub's cache, and HF_HUB_OFFLINE is set" in line


def test_offline_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(pipelines.constants, "HF_HUB_OFFLINE", True)
    calls = count_calls(monkeypatch, socket.gaierror(-2, "Name or service not known"))
    assert "HF_HUB_OFFLINE is set" in load_from_hub()
    assert not calls


def test_the_advice_of_libraries_is_not_shown(inputs: Any, tmp_path: Path) -> None:
    options = (*inputs.options(tmp_path / "run"), *QUICK)
    command = [sys.executable, "-m", "flashbulb", "validate", *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = (done.stdout + done.stderr).lower()
    for library in ("torchvision", "torchao", "_pytree", "fast image processor", "warning"):
        assert library not in shown, done.stderr


def test_a_demo_takes_no_model_of_yours(tmp_path: Path) -> None:
    assert "No such option" in refused("demo", "--model", tmp_path)
    assert "No such option" in refused("demo", "--train-images", tmp_path)
