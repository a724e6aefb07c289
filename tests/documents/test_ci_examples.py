"""The examples in docs/ci are valid for their services, and their commands work."""

import gzip
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from diffusers import StableDiffusionPipeline
from junitparser import JUnitXml
from PIL import Image

from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.policy import read_policy
from flashbulb.reports.gate.waivers import read_waivers
from tests.audit.commands import CANDIDATES, QUICK, REFERENCE, Answer, run_flashbulb
from tests.documents.blocks import Asked, run_asked, run_bash, write_tools
from tests.paths import ROOT
from tests.reports.runs import LEAKS, SECRET, write_example

EXAMPLES = ROOT / "docs" / "ci"
ACTION = "github-action/action.yml"
SCHEMAS = {
    ACTION: "vendor.github-actions",
    "github-actions.yml": "vendor.github-workflows",
    "gitlab-ci.yml": "vendor.gitlab-ci",
}
SERVICES = (ACTION, "gitlab-ci.yml")
KEY = "a password"


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    return content


def commands(name: str) -> list[str]:
    """The shell commands of an example, in order, with the default inputs of the action."""
    content = read(name)
    if name == "gitlab-ci.yml":
        keys = ("script", "after_script")
        return [line for stage in content["stages"] for key in keys for line in content[stage].get(key, ())]
    inputs = content["inputs"]
    given = {"$OPTIONS": inputs["options"]["default"], "$JUDGEMENT": inputs["judgement"]["default"]}
    lines = [step["run"] for step in content["runs"]["steps"] if "run" in step]
    return [reduce(lambda line, pair: line.replace(*pair), given.items(), line) for line in lines]


def artifacts(name: str) -> list[tuple[set[str], dict[str, Any]]]:
    """The paths that each job or step of an example publishes, and the rest of its entry."""
    content = read(name)
    if name == "gitlab-ci.yml":
        entries = [content[stage]["artifacts"] for stage in content["stages"]]
        return [({*entry["paths"], *entry.get("reports", {}).values()}, entry) for entry in entries]
    steps = [step["with"] for step in content["runs"]["steps"] if "upload-artifact" in step.get("uses", "")]
    return [(set(entry["path"].split()), entry) for entry in steps]


def command(name: str, prefix: str) -> str:
    """The only command of an example that starts with `prefix`."""
    (found,) = {line for line in commands(name) if prefix in line}
    return found[found.index(prefix) :] if prefix.startswith("flashbulb") else found


def shell(checkout: Path, line: str, *arguments: object) -> Answer:
    """Run a command as CI does, except that no model is audited."""
    tools = checkout / "bin"
    if not tools.exists():
        tools.mkdir()
        write_tools(tools)
    environment = {"PATH": os.environ["PATH"], "KEY": KEY, "AUDIT_KEY": KEY}
    return run_bash(line, checkout, tools, environment, judged, arguments)


def judged(asked: Asked) -> Answer:
    return Answer(0, "", "") if asked.words[0] == "audit" else run_asked(asked)


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


@pytest.mark.parametrize("name", SERVICES)
def test_only_the_job_that_audits_installs_the_model_libraries(name: str) -> None:
    url = "$INSTALL" if name == ACTION else "$FLASHBULB"
    installs = [line for line in commands(name) if line.startswith("pip")]
    assert installs == [f'pip install "flashbulb[audit] @ {url}"', f'pip install "flashbulb @ {url}"']
    where = next(i for i, line in enumerate(commands(name)) if "flashbulb audit" in line)
    assert commands(name).index(installs[0]) < where < commands(name).index(installs[1])


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_the_installed_version_is_a_fixed_commit(name: str) -> None:
    content = read(name)
    url = (content.get("env") or content["variables"])["FLASHBULB"]
    assert re.fullmatch(r"git\+https://\S+@[0-9a-f]{40}", url)


@pytest.mark.parametrize("name", SERVICES)
def test_artifacts_are_the_encrypted_tables_and_redacted_reports_and_expire(name: str) -> None:
    handed_on, reports = artifacts(name)
    assert handed_on[0] == {"audit.tgz.enc"}
    assert reports[0] <= {"junit.xml", "findings.jsonl", "report.html", "gate.md"}
    assert "--no-images" in command(name, "flashbulb audit")
    assert {"--redact-prompts", "--no-images"} <= set(command(name, "flashbulb report").split())
    for _, entry in (handed_on, reports):
        assert entry.get("retention-days") or entry["expire_in"]
        assert name == ACTION or entry["access"] == "developer"


@pytest.mark.parametrize("name", SERVICES)
def test_the_tables_reach_the_gate_encrypted_and_no_artifact_holds_prompts(checkout: Path, name: str) -> None:
    run = write_example(checkout / "runs" / "audit", LEAKS)
    (run / "images").mkdir(exist_ok=True)
    (run / "images" / "leak.png").write_bytes(b"image")
    assert SECRET in pd.read_parquet(run / "scores.parquet").to_csv()
    for line in (command(name, "tar -cz"), f"rm -r {run}"):
        assert shell(checkout, line).code == 0
    unpack = [line for line in commands(name) if "tar -xz" in line or line.startswith("mkdir")]
    for line in unpack:
        assert shell(checkout, line).code == 0
    assert {path.suffix for path in run.rglob("*")} == {".json", ".parquet"}
    assert shell(checkout, command(name, "flashbulb gate")).code == 1
    assert shell(checkout, command(name, "flashbulb report")).code == 0
    with gzip.open(io.BytesIO((checkout / "audit.tgz.enc").read_bytes())) as packed, pytest.raises(gzip.BadGzipFile):
        packed.read()
    for path in {path for paths, _ in artifacts(name) for path in paths}:
        content = (checkout / path).read_bytes()
        assert SECRET.encode() not in content
        assert b"data:image/png" not in content or path == "report.html"


@pytest.mark.parametrize("name", SERVICES)
def test_without_a_key_nothing_is_packed(checkout: Path, name: str) -> None:
    write_example(checkout / "runs" / "audit", LEAKS)
    (line,) = {line for line in commands(name) if "test -n" in line}
    assert shell(checkout, f"unset KEY AUDIT_KEY; {line}").code == 2
    assert not (checkout / "audit.tgz.enc").exists()


@pytest.mark.parametrize("name", SERVICES)
def test_no_variable_of_an_example_is_read_as_an_option(name: str) -> None:
    """`flashbulb verify` took a password in FLASHBULB_KEY for the path of its --key, and printed it."""
    assert "FLASHBULB_" not in (EXAMPLES / name).read_text(encoding="utf-8")


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
    Image.effect_noise((32, 32), 64).save(checkout / "images" / "noise.png")
    audits = [shlex.split(command(name, "flashbulb audit")) for name in SERVICES]
    assert audits[0] == audits[1]
    monkeypatch.chdir(checkout)
    assert run_flashbulb(*audits[0][1:], *QUICK).code == 0
    assert not (checkout / "runs" / "audit" / "images").exists()
    completed = shell(checkout, command(ACTION, "flashbulb gate"))
    verdict = decide(load_checked(checkout / "runs" / "audit").results, read_policy(checkout / "policy.toml"))
    assert completed.code == verdict.exit_code in (0, 1)
    assert completed.out.startswith(f"{verdict.outcome}: ")


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(("severities", "code"), [({5: "low"}, 0), (LEAKS, 1), (None, 3)])
def test_the_gate_step_exits_with_the_verdict_and_leaves_its_reports(
    checkout: Path, name: str, severities: dict[int, str] | None, code: int
) -> None:
    run = write_example(checkout / "runs" / "audit", severities)
    if severities is None:
        (run / "scores.parquet").write_bytes(b"PAR1")
    assert shell(checkout, command(name, "flashbulb gate")).code == code
    xml = JUnitXml.fromfile(str(checkout / "junit.xml"))
    assert (xml.failures > 0, xml.errors > 0) == (code == 1, code == 3)
    assert (checkout / "findings.jsonl").exists() == (code != 3)


@pytest.mark.parametrize("name", SERVICES)
def test_the_report_step_leaves_a_page_without_prompts(checkout: Path, name: str) -> None:
    write_example(checkout / "runs" / "audit", LEAKS)
    assert shell(checkout, command(name, "flashbulb report")).code == 0
    page = (checkout / "report.html").read_text(encoding="utf-8")
    assert "Failed: a limit of the policy is exceeded" in page
    assert SECRET not in page


@pytest.mark.parametrize(("severities", "code"), [({5: "low"}, 0), (LEAKS, 1), (None, 3)])
def test_the_hook_exits_with_the_verdict(checkout: Path, severities: dict[int, str] | None, code: int) -> None:
    """pre-commit runs `entry` without a shell and blocks the commit unless it exits with 0."""
    (repository,) = yaml.safe_load((EXAMPLES / "pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local"
    fixed = {"language": "system", "always_run": True, "pass_filenames": False}
    assert hook == fixed | {key: hook[key] for key in ("id", "name", "entry")}
    run = write_example(checkout / "runs" / "audit", severities)
    if severities is None:
        (run / "scores.parquet").unlink()
    entry = shlex.join(shlex.split(hook["entry"]))
    assert shell(checkout, entry).code == code
    shutil.rmtree(run)
    assert shell(checkout, entry).code == 2


@pytest.mark.parametrize(
    ("new", "baseline", "code"), [(LEAKS, None, 1), (LEAKS, LEAKS, 0), ({**LEAKS, 9: "high"}, LEAKS, 1), ({}, None, 0)]
)
def test_the_shell_script_exits_with_the_verdict(
    checkout: Path, new: dict[int, str], baseline: dict[int, str] | None, code: int
) -> None:
    runs = [write_example(checkout / "new", new)]
    if baseline is not None:
        runs.append(write_example(checkout / "old", baseline, timings={"record": 2.0}))  # a run of its own, no copy
    (checkout / "policy.toml").write_text("min_coverage = 1.0\n")
    completed = shell(checkout, 'sh gate.sh "$@"', "model", *runs)
    assert completed.code == code, completed.err
    assert all((checkout / name).is_file() for name in ("gate.md", "junit.xml", "findings.parquet", "model-card.md"))
    assert ("0 new, 0 worse" in completed.out) == (baseline == new)
