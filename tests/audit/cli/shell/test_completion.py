"""Shell completion through `_FLASHBULB_COMPLETE`, as bash and zsh request it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.audit.commands import ROOT
from tests.processes import fork_flashbulb

WORDS = {
    "flashbulb wai": {"waivers"},
    "flashbulb waivers c": {"check"},
    "flashbulb audit --tiers ": {"full", "screened"},
    "flashbulb audit --strategy ": {
        "sample",
        "few_steps",
        "ascend",
        "ascend_shortened",
        "cyclic",
        "extrapolate",
        "known_image",
    },
    "flashbulb audit --sites cross": {"cross_k", "cross_v", "cross_out"},
    "flashbulb audit --detectors s": {"sharpness"},
    "flashbulb audit --dtype b": {"bfloat16"},
    "flashbulb audit --device c": {"cpu", "cuda", "cuda:0"},
    "flashbulb audit --descriptor d": {"dinov2"},
    "flashbulb audit --ascend-kind ": {"feed_forward", "cross_out"},
    "flashbulb ablate --by ": {"unconditional", "mean", "zero"},
    "flashbulb localize --by ": {"unconditional", "mean", "zero"},
    "flashbulb localize --kind t": {"text_mlp"},
    "flashbulb gate --ju": {"--junit"},
    "flashbulb audit --no-st": {"--no-strict"},
}


def complete(instruction: str, **variables: str) -> str:
    """Return what the command prints for a shell."""
    ended = fork_flashbulb(environment={"_FLASHBULB_COMPLETE": instruction, **variables}).wait()
    assert (ended.code, ended.err) == (0, "")
    return ended.out


@pytest.mark.parametrize("line", WORDS)
def test_bash_gets_one_word_a_line(line: str) -> None:
    words = line.split(" ")
    answer = complete("complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert set(answer.split()) == WORDS[line]


@pytest.mark.parametrize("line", ["flashbulb audit --tiers ", "flashbulb gate --ju", "flashbulb wai"])
def test_zsh_gets_words_with_their_help(line: str) -> None:
    answer = complete("complete_zsh", _TYPER_COMPLETE_ARGS=line)
    assert answer.startswith("_arguments '*: :((")
    assert all(f'"{word}"' in answer for word in WORDS[line])


def test_invalid_settings_file_does_not_break_completion(tmp_path: Path) -> None:
    (tmp_path / "flashbulb.toml").write_text("sed = 1", encoding="utf-8")
    config = {"FLASHBULB_CONFIG": str(tmp_path / "flashbulb.toml"), "FLASHBULB_SEEDS": "many", "FLASHBULB_FORCE": "1"}
    answer = complete("complete_bash", COMP_WORDS="flashbulb audit --tiers ", COMP_CWORD="3", **config)
    assert answer.split() == ["full", "screened"]


def test_installed_bash_script_completes(tmp_path: Path) -> None:
    """`--install-completion` writes a script into the home directory; sourcing it fills COMPREPLY."""
    (tmp_path / "flashbulb").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flashbulb "$@"\n', encoding="utf-8")
    (tmp_path / "flashbulb").chmod(0o755)
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    script = (
        "flashbulb --install-completion bash >/dev/null && source ~/.bash_completions/flashbulb.sh && "
        "complete -p flashbulb && COMP_WORDS=(flashbulb audit --tiers '') COMP_CWORD=3 && "
        '_flashbulb_completion flashbulb && echo "${COMPREPLY[@]}" && flashbulb --show-completion zsh'
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    first, second, *zsh = done.stdout.splitlines()
    assert first == "complete -o default -F _flashbulb_completion flashbulb"
    assert second == "full screened"
    assert zsh[0] == "#compdef flashbulb"
