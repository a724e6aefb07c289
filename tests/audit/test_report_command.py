"""`engram report` writes the page of a finished audit, and none that says otherwise than the gate."""

import json
from pathlib import Path

import pytest

from tests.audit.commands import digests, edit_run_json, engram
from tests.reports.pages import write_illustrated
from tests.reports.runs import SECRET, write_example


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_illustrated(tmp_path / "run")


def test_the_page_lies_beside_the_run_and_the_verdict_is_no_error(run: Path) -> None:
    before = digests(run)
    answer = engram("report", run)
    assert answer.code == 0
    assert answer.out.strip() == str(run / "report.html")
    assert "Failed: memorized pictures leak" in (run / "report.html").read_text(encoding="utf-8")
    after = digests(run)
    assert after.pop("report.html")
    assert after == before


def test_a_program_is_told_where_the_page_is_and_what_it_says(run: Path) -> None:
    said = json.loads(engram("report", run, "--json").out)
    assert said == {"report": str(run / "report.html"), "outcome": "fail", "exit_code": 1}


def test_a_lenient_policy_makes_another_verdict(run: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("max_high = 9\nmax_confirmed = 9\n")
    out = tmp_path / "page.html"
    assert engram("report", run, "--policy", policy, "--out", out).code == 0
    assert "Passed: no limit is broken" in out.read_text(encoding="utf-8")
    assert not (run / "report.html").exists()


def test_what_is_hidden_is_not_in_the_file(run: Path) -> None:
    assert engram("report", run, "--redact-prompts", "--no-images").code == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert SECRET not in page
    assert "image/webp" not in page


def test_a_page_of_before_is_gone_once_the_run_is_not_to_be_trusted(run: Path) -> None:
    assert engram("report", run).code == 0
    (run / "scores.parquet").write_bytes(b"PAR1")
    answer = engram("report", run)
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert not (run / "report.html").exists()


def test_a_folder_in_the_place_of_the_page_is_a_mistake(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page.html"
    folder.mkdir()
    for spoil in (False, True):
        if spoil:
            (run / "scores.parquet").write_bytes(b"PAR1")
        answer = engram("report", run, "--out", folder)
        assert answer.code == 2
        assert len(answer.errors) == 1
        assert "cannot be written" in answer.errors[0]


def test_an_audit_with_problems_has_a_page_that_says_so(run: Path) -> None:
    edit_run_json(run, "problems", value=["a site did not fire"])
    assert engram("report", run).code == 0
    assert "Not to be trusted" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--blur", "--no-images"), "--blur and --no-images"),
        (("--out", "page.txt"), "should end in .html"),
        (("--policy", "missing.toml"), "missing.toml cannot be read"),
        (("--out", "no/such/folder/page.html"), "cannot be written"),
    ],
)
def test_a_mistake_is_one_line(run: Path, options: tuple[str, ...], said: str) -> None:
    answer = engram("report", run, *options)
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert said in answer.errors[0]
    assert not (run / "report.html").exists()


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    answer = engram("report", tmp_path)
    assert answer.code == 2
    assert "holds no run.json" in answer.errors[0]


def test_the_page_of_a_run_without_pictures_has_none(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", {0: "high"})
    assert engram("report", run).code == 0
    assert "no picture kept" in (run / "report.html").read_text(encoding="utf-8")
