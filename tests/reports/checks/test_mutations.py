"""A finished audit that passes is spoilt in every known way, and never passes again."""

import shutil
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest

from flashbulb.reports.checks.run import CheckedRun, load_checked
from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.judgement import judge
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.tables.files import TABLE_FILES, RunFileError
from tests.audit.commands import run_flashbulb
from tests.cases import slow_unless_in
from tests.reports.run_files import seal_again
from tests.reports.runs import LEAKS, checked_example, write_example
from tests.reports.spoilers import SPOILERS

LENIENT = Policy(max_high=99, max_confirmed=99, max_false_recovery_rate=1.0, min_coverage=0.01)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit that passes; tests must not change it."""
    run = write_example(tmp_path_factory.mktemp("clean") / "run")
    assert run_flashbulb("gate", run).code == 0
    return run


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> CheckedRun:
    """An audit of the same prompts that leaks."""
    return checked_example(tmp_path_factory.mktemp("leaking"), LEAKS)


def spoilt(clean: Path, tmp_path: Path, name: str) -> Path:
    """Spoil a run and, where that is possible, seal it again, so that the seal does not give the change away."""
    run = Path(shutil.copytree(clean, tmp_path / "run"))
    SPOILERS[name](run)
    if all((run / file).is_file() for file in (*TABLE_FILES, "run.json")):
        with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            seal_again(run)
    return run


@pytest.mark.parametrize("name", SPOILERS)
def test_a_spoilt_audit_never_passes(clean: Path, tmp_path: Path, name: str) -> None:
    answer = run_flashbulb("gate", spoilt(clean, tmp_path, name), "--exit-zero")
    assert answer.code in (2, 3), answer
    assert "Traceback" not in answer.err
    assert not answer.out.startswith("pass")


@pytest.mark.parametrize("name", SPOILERS)
def test_a_spoilt_audit_serves_as_no_baseline_and_passes_no_lenient_policy(
    clean: Path, leaking: CheckedRun, tmp_path: Path, name: str
) -> None:
    run = spoilt(clean, tmp_path, name)
    try:
        checked = load_checked(run)
    except RunFileError:
        return
    verdict = decide(checked.results, LENIENT)
    assert verdict.outcome == "untrusted" or checked.results.n_scored < checked.results.n_prompts
    with pytest.raises(RunFileError):
        judge(leaking, Policy(), (), checked, new_only=True, today=date(2026, 6, 15))


@pytest.mark.parametrize("name", ["nowhere", "x" * 300, "run.json/run", "\u202e", "."])
def test_a_path_without_an_audit_never_passes(clean: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(clean / "run.json", tmp_path / "run.json")
    run = tmp_path / name
    for command in (("gate", run), ("gate", clean, "--baseline", run, "--new-only"), ("diff", clean, run)):
        answer = run_flashbulb(*command)
        assert answer.code in (2, 3), answer
        assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize("name", slow_unless_in(list(SPOILERS)[::4], SPOILERS))
def test_a_comparison_with_a_spoilt_audit_says_that_it_is_untrusted(clean: Path, tmp_path: Path, name: str) -> None:
    answer = run_flashbulb("diff", clean, spoilt(clean, tmp_path, name))
    assert answer.code in (2, 3) or "note: The newer run is untrusted: " in answer.out, answer


def test_there_are_many_ways_to_spoil_an_audit() -> None:
    assert len(SPOILERS) >= 25


def test_no_truncated_record_passes(clean: Path, tmp_path: Path) -> None:
    """The last byte is a line feed, without which the record is still complete."""
    run = Path(shutil.copytree(clean, tmp_path / "run"))
    content = (run / "run.json").read_bytes()
    for length in {*range(0, len(content) - 1, 7), *range(len(content) - 9, len(content) - 1)}:
        (run / "run.json").write_bytes(content[:length])
        with pytest.raises(RunFileError):
            load_checked(run)
    (run / "run.json").write_bytes(content)
    assert decide(load_checked(run).results, Policy()).outcome == "pass"


@pytest.mark.parametrize("name", TABLE_FILES)
def test_no_truncated_table_passes(clean: Path, tmp_path: Path, name: str) -> None:
    run = Path(shutil.copytree(clean, tmp_path / "run"))
    content = (run / name).read_bytes()
    for length in range(0, len(content), 97):
        (run / name).write_bytes(content[:length])
        with pytest.raises(RunFileError):
            load_checked(run)
