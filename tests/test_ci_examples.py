"""The examples in docs/ci are valid for their services, and their commands work."""

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

from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.policy import read_policy
from flashbulb.reports.gate.waivers import read_waivers
from tests.audit.commands import CANDIDATES, QUICK, REFERENCE, run_flashbulb
from tests.paths import ROOT
from tests.reports.runs import LEAKS, SECRET, write_example

EXAMPLES = ROOT / "docs" / "ci"
FLASHBULB = f"{sys.executable} -m flashbulb"
SCHEMAS = {"github-actions.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}


def commands(name: str) -> list[str]:
    """The shell commands of an example, in order."""
    content = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    if name == "gitlab-ci.yml":
        keys = ("script", "after_script")
        return [line for stage in content["stages"] for key in keys for line in content[stage].get(key, ())]
    return [step["run"] for step in content["jobs"]["gate"]["steps"] if "run" in step]


def command(name: str, prefix: str) -> str:
    """The only command of an example that starts with `prefix`."""
    (found,) = {line for line in commands(name) if line.startswith(prefix)}
    return found


def shell(checkout: Path, line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as CI does, except that nothing is installed and no model is audited."""
    tools = checkout / "bin"
    tools.mkdir(exist_ok=True)
    for tool, script in (("pip", "exit 0\n"), ("flashbulb", f'[ "$1" = audit ] && exit 0\nexec {FLASHBULB} "$@"\n')):
        (tools / tool).write_text(f"#!/bin/sh\n{script}")
        (tools / tool).chmod(0o755)
    root = str(EXAMPLES.parents[1])
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    command_line = ["bash", "-e", "-c", line, "example", *map(str, arguments)]
    return subprocess.run(command_line, cwd=checkout, env=environment, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the files that the examples name."""
    for name in ("policy.toml", "waivers.toml", "gate.sh"):
        shutil.copy(EXAMPLES / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_service_accepts_the_example(name: str) -> None:
    command_line = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name], str(EXAMPLES / name)]
    completed = subprocess.run(command_line, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stdout


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_job_that_audits_installs_the_model_libraries(name: str) -> None:
    lines = commands(name)
    audit = lines.index(command(name, "flashbulb audit"))
    assert [line for line in lines[:audit] if line.startswith("pip")] == ['pip install "flashbulb[audit]"']


def test_the_policy_and_the_waivers_are_valid(checkout: Path) -> None:
    assert read_policy(checkout / "policy.toml").required_tiers == (1, 3)
    assert read_waivers(checkout / "waivers.toml") == ()
    commented = (checkout / "waivers.toml").read_text(encoding="utf-8").partition("#\n")[2]
    (checkout / "waivers.toml").write_text(commented.replace("# ", ""), encoding="utf-8")
    assert len(read_waivers(checkout / "waivers.toml")) == 1


def test_the_commands_audit_and_judge_a_model(
    checkout: Path, toy_pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit runs in this process, where the model libraries are already loaded, with options that make it quick."""
    toy_pipe.save_pretrained(checkout / "model")
    (checkout / "reference.txt").write_text("\n".join(REFERENCE))
    (checkout / "captions.csv").write_text("\n".join(["prompt", *CANDIDATES]), encoding="utf-8")
    (checkout / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(checkout / "images" / "noise.png")
    audits = [shlex.split(command(name, "flashbulb audit").replace("\\\n", " ")) for name in SCHEMAS]
    assert audits[0] == audits[1]
    monkeypatch.chdir(checkout)
    assert run_flashbulb(*audits[0][1:], *QUICK).code == 0
    completed = shell(checkout, command("github-actions.yml", "flashbulb gate"))
    verdict = decide(load_checked(checkout / "runs" / "audit").results, read_policy(checkout / "policy.toml"))
    assert completed.returncode == verdict.exit_code in (0, 1)
    assert completed.stdout.startswith(f"{verdict.outcome}: ")


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize(("severities", "code"), [({5: "low"}, 0), (LEAKS, 1), (None, 3)])
def test_the_gate_step_exits_with_the_verdict_and_leaves_its_reports(
    checkout: Path, name: str, severities: dict[int, str] | None, code: int
) -> None:
    run = write_example(checkout / "runs" / "audit", severities)
    if severities is None:
        (run / "scores.parquet").write_bytes(b"PAR1")
    assert shell(checkout, command(name, "flashbulb gate")).returncode == code
    xml = JUnitXml.fromfile(str(checkout / "junit.xml"))
    assert (xml.failures > 0, xml.errors > 0) == (code == 1, code == 3)
    assert (checkout / "findings.jsonl").exists() == (code != 3)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_report_step_leaves_a_page_without_prompts(checkout: Path, name: str) -> None:
    write_example(checkout / "runs" / "audit", LEAKS)
    assert shell(checkout, command(name, "flashbulb report")).returncode == 0
    page = (checkout / "report.html").read_text(encoding="utf-8")
    assert "Failed: a limit of the policy is exceeded" in page
    assert SECRET not in page


@pytest.mark.parametrize(("severities", "code"), [({5: "low"}, 0), (LEAKS, 1), (None, 3)])
def test_the_hook_exits_with_the_verdict(checkout: Path, severities: dict[int, str] | None, code: int) -> None:
    """pre-commit runs `entry` without a shell and blocks the commit unless it exits with 0."""
    (repository,) = yaml.safe_load((EXAMPLES / "pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local"
    assert {key: value for key, value in hook.items() if key not in ("id", "name", "entry")} == {
        "language": "system",
        "always_run": True,
        "pass_filenames": False,
    }
    run = write_example(checkout / "runs" / "audit", severities)
    if severities is None:
        (run / "scores.parquet").unlink()
    entry = shlex.join(shlex.split(hook["entry"]))
    assert shell(checkout, entry).returncode == code
    shutil.rmtree(run)
    assert shell(checkout, entry).returncode == 2


@pytest.mark.parametrize(
    ("new", "baseline", "code"), [(LEAKS, None, 1), (LEAKS, LEAKS, 0), ({**LEAKS, 9: "high"}, LEAKS, 1), ({}, None, 0)]
)
def test_the_shell_script_exits_with_the_verdict(
    checkout: Path, new: dict[int, str], baseline: dict[int, str] | None, code: int
) -> None:
    runs = [write_example(checkout / "new", new)]
    if baseline is not None:
        runs.append(write_example(checkout / "old", baseline))
    (checkout / "policy.toml").write_text("min_coverage = 1.0\n")
    completed = shell(checkout, 'sh gate.sh "$@"', "model", *runs)
    assert completed.returncode == code, completed.stderr
    assert all((checkout / name).is_file() for name in ("gate.md", "junit.xml", "findings.parquet", "model-card.md"))
    assert ("0 new, 0 worse" in completed.stdout) == (baseline == new)
