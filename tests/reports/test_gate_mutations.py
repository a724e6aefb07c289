"""A finished audit that passes is spoilt in every way we know of, and never passes again."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from reports.check import CheckedRun, load_checked
from reports.decide import decide
from reports.files import RunFileError
from reports.gate import judge
from reports.policy import Policy
from tests.audit.commands import engram
from tests.reports.runs import LEAKS, checked_example, write_example
from tests.reports.spoilers import SPOILERS, TABLES

LENIENT = Policy(max_high=99, max_confirmed=99, max_false_recovery_rate=1.0, min_coverage=0.01)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit that passes; leave it as it is."""
    run = write_example(tmp_path_factory.mktemp("clean") / "run")
    assert engram("gate", run).code == 0
    return run


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> CheckedRun:
    """An audit of the same prompts that leaks."""
    return checked_example(tmp_path_factory.mktemp("leaking"), LEAKS)


def spoilt(clean: Path, tmp_path: Path, name: str) -> Path:
    run = Path(shutil.copytree(clean, tmp_path / "run"))
    SPOILERS[name](run)
    return run


@pytest.mark.parametrize("name", SPOILERS)
def test_a_spoilt_audit_never_passes(clean: Path, tmp_path: Path, name: str) -> None:
    answer = engram("gate", spoilt(clean, tmp_path, name), "--exit-zero")
    assert answer.code in (2, 3), answer
    assert "Traceback" not in answer.err
    assert not answer.out.startswith("pass")


@pytest.mark.parametrize("name", SPOILERS)
def test_a_spoilt_audit_is_no_baseline_nor_passes_a_lenient_policy(
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
def test_a_name_that_leads_to_no_audit_never_passes(clean: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(clean / "run.json", tmp_path / "run.json")
    run = tmp_path / name
    for command in (("gate", run), ("gate", clean, "--baseline", run, "--new-only"), ("diff", clean, run)):
        answer = engram(*command)
        assert answer.code in (2, 3), answer
        assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize("name", SPOILERS)
def test_a_spoilt_audit_is_not_compared_in_silence(clean: Path, tmp_path: Path, name: str) -> None:
    answer = engram("diff", clean, spoilt(clean, tmp_path, name))
    assert answer.code in (2, 3) or "note: The newer run is not to be trusted: " in answer.out, answer


def test_there_are_many_ways_to_spoil_an_audit() -> None:
    assert len(SPOILERS) >= 25


def test_no_beginning_of_a_record_passes(clean: Path, tmp_path: Path) -> None:
    """The last byte is the line's end, without which the record is whole."""
    run = Path(shutil.copytree(clean, tmp_path / "run"))
    whole = (run / "run.json").read_bytes()
    for length in {*range(0, len(whole) - 1, 7), *range(len(whole) - 9, len(whole) - 1)}:
        (run / "run.json").write_bytes(whole[:length])
        with pytest.raises(RunFileError):
            load_checked(run)
    (run / "run.json").write_bytes(whole)
    assert decide(load_checked(run).results, Policy()).outcome == "pass"


@pytest.mark.parametrize("name", TABLES)
def test_no_beginning_of_a_table_passes(clean: Path, tmp_path: Path, name: str) -> None:
    run = Path(shutil.copytree(clean, tmp_path / "run"))
    whole = (run / name).read_bytes()
    for length in range(0, len(whole), 97):
        (run / name).write_bytes(whole[:length])
        with pytest.raises(RunFileError):
            load_checked(run)
