"""Completion through `_ENGRAM_COMPLETE`, as bash and zsh ask for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.audit.commands import ROOT

WORDS = {
    "engram wai": {"waivers"},
    "engram waivers c": {"check"},
    "engram audit --tiers ": {"full", "screened"},
    "engram audit --strategy ": {"sample", "ascend", "cyclic", "known_image"},
    "engram audit --sites cross": {"cross_k", "cross_v", "cross_out"},
    "engram audit --detectors s": {"sharpness"},
    "engram audit --dtype b": {"bfloat16"},
    "engram audit --device c": {"cpu", "cuda", "cuda:0"},
    "engram audit --descriptor d": {"dinov2"},
    "engram audit --ascend-kind ": {"feed_forward", "cross_out"},
    "engram ablate --engine ": {"hooks", "nnsight"},
    "engram localize --by ": {"unconditional", "mean", "zero"},
    "engram localize --kind t": {"text_mlp"},
    "engram gate --ju": {"--junit"},
    "engram audit --no-st": {"--no-strict"},
}


def asked(instruction: str, **variables: str) -> str:
    """What the command answers to a shell."""
    done = subprocess.run(
        [sys.executable, "-m", "audit"],
        cwd=ROOT,
        env={**os.environ, "_ENGRAM_COMPLETE": instruction, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("line", WORDS)
def test_bash_gets_one_word_a_line(line: str) -> None:
    words = line.split(" ")
    answer = asked("complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert set(answer.split()) == WORDS[line]


@pytest.mark.parametrize("line", ["engram audit --tiers ", "engram gate --ju", "engram wai"])
def test_zsh_gets_words_with_their_help(line: str) -> None:
    answer = asked("complete_zsh", _TYPER_COMPLETE_ARGS=line)
    assert answer.startswith("_arguments '*: :((")
    assert all(f'"{word}"' in answer for word in WORDS[line])


def test_a_spoilt_settings_file_does_not_spoil_completion(tmp_path: Path) -> None:
    (tmp_path / "engram.toml").write_text("sed = 1", encoding="utf-8")
    config = {"ENGRAM_CONFIG": str(tmp_path / "engram.toml"), "ENGRAM_SEEDS": "many", "ENGRAM_FORCE": "1"}
    answer = asked("complete_bash", COMP_WORDS="engram audit --tiers ", COMP_CWORD="3", **config)
    assert answer.split() == ["full", "screened"]


def test_bash_completes_with_the_script_that_is_installed(tmp_path: Path) -> None:
    """`--install-completion` writes into the home directory; the script it sources fills COMPREPLY."""
    (tmp_path / "engram").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m audit "$@"\n', encoding="utf-8")
    (tmp_path / "engram").chmod(0o755)
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    script = (
        "engram --install-completion bash >/dev/null && source ~/.bash_completions/engram.sh && "
        "complete -p engram && COMP_WORDS=(engram audit --tiers '') COMP_CWORD=3 && "
        '_engram_completion engram && echo "${COMPREPLY[@]}" && engram --show-completion zsh'
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    first, second, *zsh = done.stdout.splitlines()
    assert first == "complete -o default -F _engram_completion engram"
    assert second == "full screened"
    assert zsh[0] == "#compdef engram"
