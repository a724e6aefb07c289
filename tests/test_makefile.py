"""`make` hands variables on as written, and `make gate` answers with the verdict's exit code."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT

STAND_IN = '#!/bin/sh\nprintf "[%s]" "$@"; echo\nexit ${CODE:-0}\n'
VARIABLES = (
    "MODEL",
    "PROMPTS",
    "REFERENCE",
    "TRAIN_IMAGES",
    "OUT",
    "ARGS",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with our Makefile where everything is installed and `flashbulb` prints its arguments."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    flashbulb = tmp_path / ".venv" / "bin" / "flashbulb"
    flashbulb.parent.mkdir(parents=True)
    flashbulb.write_text(STAND_IN)
    flashbulb.chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def make(directory: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment["CODE"] = str(code)
    command = ["make", *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def test_without_variables_the_defaults_are_flashbulbs(installed: Path) -> None:
    assert make(installed, "audit", "MODEL=m").stdout == "[audit][--model][m]\n"


@pytest.mark.parametrize(("goal", "asked"), [("audit", ""), ("gate", "[--gate]")])
def test_without_a_model_the_demo_runs_and_says_so(installed: Path, goal: str, asked: str) -> None:
    done = make(installed, goal, "OUT=o")
    assert done.stdout.startswith(f"[demo]{asked}[--out][o]\n")
    assert done.stderr == "No MODEL given: audits the embedded model (flashbulb demo).\n"


def test_a_discovery_without_a_model_searches_the_embedded_one_and_says_so(installed: Path) -> None:
    done = make(installed, "discover", "BUDGET=9")
    embedded = "audit/planted/embedded"
    given = f"[--train-images][{embedded}/pictures][--out][runs/embedded-discovery][{embedded}/model]"
    assert done.stdout == f"[discover][--budget][9]{given}\n"
    assert done.stderr == "No MODEL given: searches the embedded model (flashbulb demo).\n"
    assert (ROOT / embedded / "model" / "model_index.json").is_file()
    assert make(installed, "discover", "MODEL=a model").stdout == "[discover][--budget][20000][a model]\n"


def test_prompts_without_a_model_are_left_for_flashbulb_to_refuse(installed: Path) -> None:
    assert make(installed, "audit", "PROMPTS=p").stdout == "[audit][--prompts][p]\n"


def test_variables_arrive_as_written(installed: Path) -> None:
    variables = (
        "MODEL=a model",
        "PROMPTS=it's.csv",
        "REFERENCE=",
        "TRAIN_IMAGES=$$x",
        "OUT=o",
        "ARGS=--fpr '0 1'",
    )
    done = make(installed, "audit", *variables)
    expected = "[audit][--model][a model][--prompts][it's.csv][--train-images][$x][--out][o][--fpr][0 1]\n"
    assert done.stdout == expected


@pytest.mark.parametrize(("code", "status"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 2)])
def test_gate_answers_with_its_verdict(installed: Path, code: int, status: int) -> None:
    done = make(installed, "gate", "MODEL=m", "OUT=my run", code=code)
    assert done.returncode == status
    assert done.stdout == f"[audit][--gate][--model][m][--out][my run]\nflashbulb: gate exit code {code}\n"


def test_gate_beside_another_goal_runs_both(installed: Path) -> None:
    done = make(installed, "audit", "gate", "MODEL=m")
    assert done.returncode == 0
    assert "[audit][--model][m]\n[audit][--gate][--model][m]\n" in done.stdout


def test_a_failed_installation_is_no_verdict(installed: Path) -> None:
    (installed / ".venv" / ".installed").unlink()
    done = make(installed, "gate", "PYTHON=false")
    assert done.returncode == 2
    assert "gate exit code" not in done.stdout


def test_a_dry_run_runs_nothing(installed: Path) -> None:
    assert "[audit]" not in make(installed, "-n", "gate").stdout
