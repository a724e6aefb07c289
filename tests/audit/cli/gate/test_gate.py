"""`flashbulb gate`, `diff` and `waivers` write the same verdict to every output and never lose it."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from huggingface_hub import ModelCard
from junitparser import Error, Failure, JUnitXml, Skipped

from tests.audit.cli.gate.verdicts import RUNS, TODAY, leaks_of, waiver
from tests.audit.commands import edit_run_json, only_error_line, run_flashbulb
from tests.reports.run_files import read_metadata, seal_again
from tests.reports.runs import LEAKS, SECRET, checked_example, write_example

TOMORROW = (TODAY + timedelta(days=1)).isoformat()
pytestmark = pytest.mark.usefixtures("on_one_day")
ELEMENTS = {"pass": [], "inconclusive": [Skipped], "fail": [Failure], "untrusted": [Error]}


def outputs(folder: Path) -> tuple[object, ...]:
    """Return the options that write every format."""
    return (
        *("--summary", folder / "gate.md", "--junit", folder / "junit.xml", "--sarif", folder / "gate.sarif"),
        *("--findings", folder / "f.jsonl", "--findings", folder / "f.parquet", "--model-card", folder / "card.md"),
    )


@pytest.mark.parametrize("outcome", RUNS)
def test_every_output_states_the_same_verdict(tmp_path: Path, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, code = RUNS[outcome]
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    answer = run_flashbulb("gate", write_example(tmp_path / "run", **options), *outputs(tmp_path))
    assert answer.code == code
    assert answer.out.startswith(f"{outcome}: ")
    first = next(case for suite in JUnitXml.fromfile(str(tmp_path / "junit.xml")) for case in suite)
    assert [type(result) for result in first.result] == ELEMENTS[outcome]
    (sarif,) = json.loads((tmp_path / "gate.sarif").read_text(encoding="utf-8"))["runs"]
    assert sarif["invocations"][0]["exitCode"] == code
    assert set(pl.read_ndjson(tmp_path / "f.jsonl")["outcome"]) == {outcome}
    assert read_metadata(tmp_path / "f.parquet")["exit_code"] == str(code)
    page = (tmp_path / "gate.md").read_text(encoding="utf-8")
    assert f"Exit code {code}." in page
    assert page in (tmp_path / "step.md").read_text(encoding="utf-8")
    passed = "**passed**" in ModelCard((tmp_path / "card.md").read_text(encoding="utf-8")).text
    assert passed == (outcome == "pass")


def test_outputs_hide_prompts_unless_asked(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", LEAKS)
    files = [tmp_path / name for name in ("gate.md", "junit.xml", "gate.sarif", "f.jsonl", "f.parquet", "card.md")]
    assert SECRET not in run_flashbulb("gate", run, *outputs(tmp_path)).out
    assert not [path.name for path in files if SECRET.encode() in path.read_bytes()]
    assert not [path.name for path in files if b".png" in path.read_bytes()]
    assert SECRET in run_flashbulb("gate", run, *outputs(tmp_path), "--show-prompts").out
    assert [path.name for path in files[:4] if SECRET.encode() in path.read_bytes()] == [p.name for p in files[:4]]


def test_formats_do_not_change_the_verdict(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", LEAKS)
    options = outputs(tmp_path)
    codes = {run_flashbulb("gate", run, *options[i : i + 2]).code for i in range(0, len(options), 2)}
    assert codes == {1}


def test_unreadable_run_leaves_no_outdated_output(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run")
    assert run_flashbulb("gate", run, *outputs(tmp_path)).code == 0
    (run / "scores.parquet").write_bytes(b"")
    only_error_line(run_flashbulb("gate", run, *outputs(tmp_path)), code=3)
    assert JUnitXml.fromfile(str(tmp_path / "junit.xml")).errors == 1
    (sarif,) = json.loads((tmp_path / "gate.sarif").read_text(encoding="utf-8"))["runs"]
    assert sarif["invocations"][0]["exitCode"] == 3
    assert "not to be trusted" in (tmp_path / "gate.md").read_text(encoding="utf-8")
    assert not any((tmp_path / name).exists() for name in ("f.jsonl", "f.parquet", "card.md"))


@pytest.mark.parametrize(("outcome", "code"), [("pass", 0), ("fail", 0), ("untrusted", 3)])
def test_exit_zero_hides_only_a_failed_gate(tmp_path: Path, outcome: str, code: int) -> None:
    answer = run_flashbulb("gate", write_example(tmp_path / "run", **RUNS[outcome][0]), "--exit-zero")
    assert answer.code == code
    assert answer.out.startswith(f"{outcome}: ")


def test_exit_zero_hides_neither_mistakes_nor_bugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_example(tmp_path / "run", LEAKS)
    assert "nowhere.toml" in only_error_line(
        run_flashbulb("gate", run, "--exit-zero", "--policy", tmp_path / "nowhere.toml")
    )
    monkeypatch.setattr("flashbulb.reports.gate.judgement.judge", lambda *_, **__: 1 / 0)
    assert run_flashbulb("gate", run, "--exit-zero").code == 4


def test_policy_decides_the_verdict(tmp_path: Path) -> None:
    run, policy = write_example(tmp_path / "run", LEAKS), tmp_path / "policy.toml"
    for text, code in (("max_high = 2\nmax_confirmed = 2\n", 0), ("max_high = 1\n", 1), ("max_style_shift = 0.5\n", 3)):
        policy.write_text(text, encoding="utf-8")
        assert run_flashbulb("gate", run, "--policy", policy).code == code
    policy.write_text("max_hihg = 2\n", encoding="utf-8")
    assert "max_hihg is no key" in only_error_line(run_flashbulb("gate", run, "--policy", policy))


@pytest.mark.parametrize("option", ["--summary", "--junit", "--sarif", "--findings", "--model-card"])
def test_output_path_that_cannot_be_written_is_a_usage_error(tmp_path: Path, option: str) -> None:
    run = write_example(tmp_path / "run")
    assert "cannot be written" in only_error_line(
        run_flashbulb("gate", run, option, tmp_path / "nowhere" / "file.jsonl")
    )


def test_waived_findings_pass_until_the_waiver_expires(tmp_path: Path) -> None:
    run, waivers = write_example(tmp_path / "run", LEAKS), tmp_path / "waivers.toml"
    first, second = leaks_of(run)
    waivers.write_text(
        waiver(first, TOMORROW) + waiver(second, TOMORROW) + waiver("0" * 16, TOMORROW), encoding="utf-8"
    )
    answer = run_flashbulb("gate", run, "--waivers", waivers)
    assert answer.code == 0
    assert "waived (2):" in answer.out
    assert f"note: Unused waiver {'0' * 16} by ana" in answer.out
    waivers.write_text(waiver(first, TOMORROW) + waiver(second, "2020-01-01"), encoding="utf-8")
    answer = run_flashbulb("gate", run, "--waivers", waivers, *outputs(tmp_path))
    assert answer.code == 1
    for text in (answer.out, *((tmp_path / name).read_text() for name in ("gate.md", "junit.xml", "gate.sarif"))):
        assert f"Expired waiver {second} by ana" in text


def test_waivers_are_added_and_checked(tmp_path: Path) -> None:
    run, waivers = write_example(tmp_path / "run", LEAKS), tmp_path / "waivers.toml"
    first, second = leaks_of(run)
    entry = ("--reason", 'said "yes" \\ \x1b', "--owner", "ana", "--run", run)
    assert run_flashbulb("waivers", "add", waivers, first, *entry, "--expires", TOMORROW).code == 0
    answer = run_flashbulb("waivers", "check", waivers, "--run", run)
    assert answer.code == 0
    assert f"{first}  holds  ana, until {TOMORROW}" in answer.out
    assert "already" in only_error_line(run_flashbulb("waivers", "add", waivers, first, *entry, "--expires", TOMORROW))
    assert "is in the past" in only_error_line(
        run_flashbulb("waivers", "add", waivers, second, *entry, "--expires", "2020-01-01")
    )
    assert "has no finding" in only_error_line(
        run_flashbulb("waivers", "add", waivers, "0" * 16, *entry, "--expires", TOMORROW)
    )
    with waivers.open("a", encoding="utf-8") as file:
        file.write(waiver(second, "2020-01-01") + waiver("0" * 16, TOMORROW))
    answer = run_flashbulb("waivers", "check", waivers, "--run", run)
    assert answer.code == 1
    assert f"{second}  expired  ana" in answer.out
    assert f"{'0' * 16}  holds, unused  ana" in answer.out
    assert answer.out.endswith("3 waivers, 1 expired\n")
    assert "cannot be read" in only_error_line(run_flashbulb("waivers", "check", tmp_path / "nowhere.toml"))


def test_two_runs_are_compared(tmp_path: Path) -> None:
    old = write_example(tmp_path / "old", {0: "high", 1: "low", 6: "low"})
    new = write_example(tmp_path / "new", LEAKS)
    answer = run_flashbulb("diff", old, new)
    assert answer.code == 0
    assert answer.out.startswith("2 new, 1 worse, 0 better, 1 unchanged, 1 fixed\n")
    assert run_flashbulb("gate", new, "--baseline", old, "--new-only").code == 1
    for same in (new, shutil.copytree(new, tmp_path / "copy")):
        assert "is the run itself" in only_error_line(run_flashbulb("gate", new, "--baseline", same, "--new-only"))
    assert run_flashbulb("gate", old, "--baseline", new, "--new-only").code == 0
    assert "needs --baseline" in only_error_line(run_flashbulb("gate", new, "--new-only"))


def test_runs_that_cannot_be_compared_are_refused_with_both_values(tmp_path: Path) -> None:
    old, new = write_example(tmp_path / "old", LEAKS), write_example(tmp_path / "new", LEAKS)
    edit_run_json(new, "settings", "n_seeds", value=8)
    seal_again(new)
    for command in (("diff", old, new), ("gate", new, "--baseline", old, "--new-only", "--exit-zero")):
        assert "settings.n_seeds was None, now 8" in only_error_line(run_flashbulb(*command))
    (old / "recoveries.parquet").unlink()
    for command in (("diff", old, new), ("gate", new, "--baseline", old, "--new-only", "--exit-zero")):
        only_error_line(run_flashbulb(*command), code=3)


def test_results_are_counted_from_the_tables(tmp_path: Path) -> None:
    results = checked_example(tmp_path, LEAKS, likely=frozenset({1})).results
    assert (results.n_high, results.n_medium, results.n_low, results.n_confirmed_pictures) == (2, 1, 1, 1)
    assert (results.n_untried, results.n_left_out, results.style_shift) == (0, 0, 0.52)
