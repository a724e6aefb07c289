"""The examples in docs/ci are valid for their services, and their commands do what they say."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from diffusers import StableDiffusionPipeline
from junitparser import JUnitXml
from PIL import Image

from reports.check import load_checked
from reports.decide import decide
from reports.policy import read_policy
from reports.waivers import read_waivers
from tests.audit.commands import CANDIDATES, QUICK, REFERENCE, engram
from tests.reports.runs import LEAKS, SECRET, write_example

EXAMPLES = Path(__file__).parents[1] / "docs" / "ci"
ENGRAM = f"{sys.executable} -m audit"
SCHEMAS = {"github-actions.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}


def commands(name: str) -> list[str]:
    """Shell commands of an example, in their order."""
    content = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    if name == "gitlab-ci.yml":
        keys = ("script", "after_script")
        return [line for stage in content["stages"] for key in keys for line in content[stage].get(key, ())]
    return [step["run"] for step in content["jobs"]["gate"]["steps"] if "run" in step]


def command(name: str, word: str) -> str:
    """The one command of an example that starts with `word`."""
    (found,) = {line for line in commands(name) if line.startswith(word)}
    return found


def shell(workplace: Path, line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as CI does, but install nothing and audit no model."""
    tools = workplace / "bin"
    tools.mkdir(exist_ok=True)
    for tool, script in (("pip", "exit 0\n"), ("engram", f'[ "$1" = audit ] && exit 0\nexec {ENGRAM} "$@"\n')):
        (tools / tool).write_text(f"#!/bin/sh\n{script}")
        (tools / tool).chmod(0o755)
    root = str(EXAMPLES.parents[1])
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    words = ["bash", "-e", "-c", line, "example", *map(str, arguments)]
    return subprocess.run(words, cwd=workplace, env=environment, capture_output=True, text=True)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A checkout with the files that the examples name."""
    for name in ("policy.toml", "waivers.toml", "gate.sh"):
        shutil.copy(EXAMPLES / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_service_accepts_the_example(name: str) -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name], str(EXAMPLES / name)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_policy_and_the_waivers_are_read(workplace: Path) -> None:
    assert read_policy(workplace / "policy.toml").required_tiers == (1, 3)
    assert read_waivers(workplace / "waivers.toml") == ()
    commented = (workplace / "waivers.toml").read_text(encoding="utf-8").partition("#\n")[2]
    (workplace / "waivers.toml").write_text(commented.replace("# ", ""), encoding="utf-8")
    assert len(read_waivers(workplace / "waivers.toml")) == 1


def test_the_commands_audit_and_judge_a_model(
    workplace: Path, toy_pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit runs in this process, which has the model libraries loaded, with options that make it quick."""
    toy_pipe.save_pretrained(workplace / "model")
    (workplace / "reference.txt").write_text("\n".join(REFERENCE))
    (workplace / "captions.csv").write_text("\n".join(["prompt", *CANDIDATES]), encoding="utf-8")
    (workplace / "pictures").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(workplace / "pictures" / "noise.png")
    audits = [shlex.split(command(name, "engram audit").replace("\\\n", " ")) for name in SCHEMAS]
    assert audits[0] == audits[1]
    monkeypatch.chdir(workplace)
    assert engram(*audits[0][1:], *QUICK).code == 0
    done = shell(workplace, command("github-actions.yml", "engram gate"))
    verdict = decide(load_checked(workplace / "runs" / "audit").results, read_policy(workplace / "policy.toml"))
    assert done.returncode == verdict.exit_code in (0, 1)
    assert done.stdout.startswith(f"{verdict.outcome}: ")


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize(("severities", "code"), [({5: "low"}, 0), (LEAKS, 1), (None, 3)])
def test_the_gate_step_answers_with_the_verdict_and_leaves_its_reports(
    workplace: Path, name: str, severities: dict[int, str] | None, code: int
) -> None:
    run = write_example(workplace / "runs" / "audit", severities)
    if severities is None:
        (run / "scores.parquet").write_bytes(b"PAR1")
    assert shell(workplace, command(name, "engram gate")).returncode == code
    xml = JUnitXml.fromfile(str(workplace / "junit.xml"))
    assert (xml.failures > 0, xml.errors > 0) == (code == 1, code == 3)
    assert (workplace / "findings.jsonl").exists() == (code != 3)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_report_step_leaves_a_page_without_prompts(workplace: Path, name: str) -> None:
    write_example(workplace / "runs" / "audit", LEAKS)
    assert shell(workplace, command(name, "engram report")).returncode == 0
    page = (workplace / "report.html").read_text(encoding="utf-8")
    assert "Failed: memorized pictures leak" in page
    assert SECRET not in page


@pytest.mark.parametrize(("severities", "code"), [({5: "low"}, 0), (LEAKS, 1), (None, 3)])
def test_the_hook_answers_with_the_verdict(workplace: Path, severities: dict[int, str] | None, code: int) -> None:
    """pre-commit runs the words of `entry` without a shell, and refuses the commit unless they exit 0."""
    (repository,) = yaml.safe_load((EXAMPLES / "pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local"
    assert {key: value for key, value in hook.items() if key not in ("id", "name", "entry")} == {
        "language": "system",
        "always_run": True,
        "pass_filenames": False,
    }
    run = write_example(workplace / "runs" / "audit", severities)
    if severities is None:
        (run / "scores.parquet").unlink()
    words = shlex.join(shlex.split(hook["entry"]))
    assert shell(workplace, words).returncode == code
    shutil.rmtree(run)
    assert shell(workplace, words).returncode == 2


@pytest.mark.parametrize(
    ("new", "baseline", "code"), [(LEAKS, None, 1), (LEAKS, LEAKS, 0), ({**LEAKS, 9: "high"}, LEAKS, 1), ({}, None, 0)]
)
def test_the_shell_script_answers_with_the_verdict(
    workplace: Path, new: dict[int, str], baseline: dict[int, str] | None, code: int
) -> None:
    runs = [write_example(workplace / "new", new)]
    if baseline is not None:
        runs.append(write_example(workplace / "old", baseline))
    (workplace / "policy.toml").write_text("min_coverage = 1.0\n")
    done = shell(workplace, 'sh gate.sh "$@"', "model", *runs)
    assert done.returncode == code, done.stderr
    assert all((workplace / name).is_file() for name in ("gate.md", "junit.xml", "findings.parquet", "model-card.md"))
    assert ("0 new, 0 worse" in done.stdout) == (baseline == new)
