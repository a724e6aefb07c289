"""`flashbulb report` writes the report of a finished audit, which never contradicts the gate."""

import json
from pathlib import Path

import pytest

from tests.audit.commands import digests, edit_run_json, refused, run_flashbulb
from tests.reports.pages import write_illustrated
from tests.reports.run_files import seal_again
from tests.reports.runs import LEAKS, PROMPTS, SECRET, write_example


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_illustrated(tmp_path / "run")


def test_report_is_written_into_the_run_and_a_failed_verdict_is_no_error(run: Path) -> None:
    before = digests(run)
    answer = run_flashbulb("report", run)
    assert answer.code == 0
    assert answer.out.strip() == str(run / "report.html")
    assert "Failed: a limit of the policy is exceeded" in (run / "report.html").read_text(encoding="utf-8")
    after = digests(run)
    assert after.pop("report.html")
    assert after == before


def test_json_has_the_path_and_the_verdict(run: Path) -> None:
    document = json.loads(run_flashbulb("report", run, "--json").out)
    assert document == {"report": str(run / "report.html"), "annex": [], "outcome": "fail", "exit_code": 1}


def test_report_follows_the_policy(run: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("max_high = 9\nmax_confirmed = 9\nmax_extractable_share = 1.0\nmin_power = 0.0\n")
    out = tmp_path / "page.html"
    assert run_flashbulb("report", run, "--policy", policy, "--out", out).code == 0
    assert "Passed: no limit of the policy is exceeded" in out.read_text(encoding="utf-8")
    assert not (run / "report.html").exists()


def test_hidden_content_is_not_in_the_file(run: Path) -> None:
    assert run_flashbulb("report", run, "--redact-prompts", "--no-images").code == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert SECRET not in page
    assert "image/webp" not in page


def test_old_report_of_an_untrusted_run_is_deleted(run: Path) -> None:
    assert run_flashbulb("report", run).code == 0
    (run / "scores.parquet").write_bytes(b"PAR1")
    answer = run_flashbulb("report", run)
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert not (run / "report.html").exists()


def test_folder_at_the_path_of_the_report_is_a_mistake(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page.html"
    folder.mkdir()
    for is_damaged in (False, True):
        if is_damaged:
            (run / "scores.parquet").write_bytes(b"PAR1")
        answer = run_flashbulb("report", run, "--out", folder)
        assert answer.code == 2
        assert len(answer.errors) == 1
        assert "cannot be written" in answer.errors[0]


def test_report_of_an_audit_with_problems_is_untrusted(run: Path) -> None:
    edit_run_json(run, "problems", value=["a site did not fire"])
    seal_again(run)
    assert run_flashbulb("report", run).code == 0
    assert "Untrusted: no verdict can be drawn from this audit" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--blur", "--no-images"), "--blur and --no-images"),
        (("--out", "page.txt"), "should end in .html"),
        (("--policy", "missing.toml"), "missing.toml cannot be read"),
        (("--out", "no/such/folder/page.html"), "cannot be written"),
    ],
)
def test_a_mistake_is_one_line(run: Path, options: tuple[str, ...], message: str) -> None:
    answer = run_flashbulb("report", run, *options)
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert message in answer.errors[0]
    assert not (run / "report.html").exists()


def test_folder_that_is_not_a_run_is_one_line(tmp_path: Path) -> None:
    answer = run_flashbulb("report", tmp_path)
    assert answer.code == 2
    assert "holds no run.json" in answer.errors[0]


def test_report_of_a_run_without_images_has_none(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", {0: "high"})
    assert run_flashbulb("report", run).code == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "A memorized image was recovered" in page


def test_the_page_marks_what_is_new_since_a_baseline(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", LEAKS, prompts=PROMPTS)
    old = write_example(tmp_path / "old", {0: "high", 2: "medium", 5: "low"}, prompts=PROMPTS)
    assert run_flashbulb("report", run).code == 0
    alone = (run / "report.html").read_text(encoding="utf-8")
    assert "--baseline EARLIER_RUN marks what is new" in alone
    assert '<select id="change">' not in alone
    assert run_flashbulb("report", run, "--baseline", old).code == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Since the baseline: 2 new, 2 unchanged, 1 fixed." in page
    assert '<select id="change">' in page
    assert page.count('data-change="new"') == 2


def test_a_baseline_that_cannot_be_used_leaves_the_page(run: Path, tmp_path: Path) -> None:
    assert run_flashbulb("report", run).code == 0
    before = digests(run)
    assert "is the run itself" in refused("report", run, "--baseline", run)
    damaged = write_illustrated(tmp_path / "damaged")
    (damaged / "scores.parquet").write_bytes(b"PAR1")
    refused("report", run, "--baseline", damaged, code=3)
    other = write_example(tmp_path / "other")
    assert "cannot be compared" in refused("report", run, "--baseline", other)
    assert digests(run) == before
