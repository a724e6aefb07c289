"""What leaked is counted, named and listed for removal, and names of training images are hidden on request."""

import csv
import io
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from flashbulb.reports.bounds.replication import replication_of
from flashbulb.reports.checks.findings import Finding, FoundImage, Nearest
from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.gate.judgement import GateReport, judge
from flashbulb.reports.gate.junit import junit_xml
from flashbulb.reports.gate.markdown import gate_markdown
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.sarif import sarif_log
from flashbulb.reports.gate.terminal import gate_lines
from flashbulb.reports.leaks.images import CopiedImage, LeakedImage, leak_counts, leaked_images, recorded_copies
from flashbulb.reports.leaks.next_steps import next_steps
from flashbulb.reports.leaks.removal import REMOVAL_COLUMNS, removal_csv
from flashbulb.reports.views.text import json_text
from tests.reports.findings_examples import finding
from tests.reports.pages import TODAY, TRAINING_NAME, write_illustrated


def found(prompt_id: str, path: str | None, *, hits: int = 2, kind: str | None = "verbatim") -> Finding:
    """A finding of one image, a copy of `path`."""
    nearest = None if path is None else Nearest(path, 0.9, kind)
    image = FoundImage(f"f-{prompt_id}", "confirmed", replication_of(hits, 4), nearest, 1)
    return finding(prompt_id, nearest=nearest, images=(image,))


def leaks_of(*findings: Finding, copied: dict[str, CopiedImage] | None = None) -> tuple[LeakedImage, ...]:
    return leaked_images(findings, copied or {}, frozenset())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> GateReport:
    """Of an audit in which two prompts lead to one training image, by a copy and by a part."""
    run = write_illustrated(tmp_path_factory.mktemp("leaks") / "run")
    return judge(load_checked(run), Policy(), (), None, new_only=False, today=TODAY)


def test_a_training_image_counts_once_whatever_the_prompts(report: GateReport) -> None:
    leaks = leaks_of(found("a", "x/fox.png", hits=1), found("b", "x/fox.png", hits=4), found("c", "x/owl.png"))
    assert [(leak.name, leak.n_prompts) for leak in leaks] == [("fox.png", 2), ("owl.png", 1)]
    assert leaks[0].replication == replication_of(4, 4)
    assert leak_counts(leaks) == "3 leaking prompts, 2 distinct training images"
    assert leak_counts(report.leaks) == "2 leaking prompts, 1 distinct training image"


def test_copies_by_ordinary_prompts_are_told_beside_the_leaks(report: GateReport) -> None:
    """A gate that fails for such a copy said that no image came back."""
    assert report.results is not None
    none, ordinary = (
        replace(report, leaks=(), results=replace(report.results, n_ordinary_copies=n)).leak_counts for n in (0, 2)
    )
    assert none == leak_counts(()) == "no image came back"
    assert ordinary == "no flagged prompt gave an image, 2 ordinary prompts a copy of one"


def test_an_image_that_copies_nothing_is_not_called_a_training_image() -> None:
    leaks = leaks_of(found("a", "x/fox.png", kind=None), found("b", None), found("c", "x/owl.png"))
    assert [leak.name for leak in leaks] == ["f-a", "f-b", "owl.png"]
    assert leak_counts(leaks) == "3 leaking prompts, 1 distinct training image, 2 distinct images of unknown origin"
    assert [row["image"] for row in rows(leaks)] == ["owl.png"]


def rows(leaks: tuple[LeakedImage, ...]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(removal_csv(leaks))))


def test_the_list_for_removal_names_file_captions_and_near_duplicates() -> None:
    copied = recorded_copies(
        {"training_images": {"copied": {"/d/fox.png": {"file": "a/fox.png", "near_duplicates": 3}}}}
    )
    (row,) = rows(leaks_of(found("a", "/d/fox.png"), found("b", "/d/fox.png"), copied=copied))
    assert tuple(row) == REMOVAL_COLUMNS
    assert (row["image"], row["near_duplicates"], row["n_prompts"]) == ("a/fox.png", "3", "2")
    assert (row["caption_rows"], row["p"]) == ("captions.csv:7 captions.csv:7", "0.5")


@pytest.mark.parametrize("copied", [None, 3, {"x": 1}, {"x": {"file": 1, "near_duplicates": "many"}}])
def test_a_record_without_near_duplicates_leaves_the_cell_empty(copied: object) -> None:
    (row,) = rows(leaks_of(found("a", "x"), copied=recorded_copies({"training_images": {"copied": copied}})))
    assert (row["image"], row["near_duplicates"]) == ("x", "")


def test_no_cell_is_a_formula_and_a_waived_image_is_not_listed() -> None:
    assert rows(leaks_of(found("a", "d/=1+1.png")))[0]["image"] == "./=1+1.png"
    waived = found("a", "x")
    assert not rows(leaked_images([waived], {}, {waived.fingerprint}))


def outputs(report: GateReport) -> dict[str, str]:
    return {
        "terminal": "\n".join(gate_lines(report, False, "RUN")),
        "summary": gate_markdown(report, False),
        "junit": junit_xml(report, False),
        "sarif": json_text(sarif_log(report, Path("/"), False)),
        "removal": removal_csv(report.leaks),
    }


def test_every_output_names_the_training_image_its_prompts_and_p(report: GateReport) -> None:
    for name, text in outputs(report).items():
        assert TRAINING_NAME in text, name
        assert "0.9" in text, name  # the similarity
    stated = sarif_log(report, Path("/"), False)["runs"][0]["results"][0]["properties"]
    assert (stated["nearestImage"], stated["similarity"], stated["promptsOfImage"]) == (TRAINING_NAME, 0.9, 1)


def test_no_output_of_a_redacted_report_names_a_training_image(report: GateReport) -> None:
    hidden = outputs(report.without_names())
    assert not [name for name, text in hidden.items() if "Ann Secret" in text]
    assert "a copy of a training image (similarity 0.90)" in hidden["terminal"]
    assert len(hidden["removal"].splitlines()) == 2


def test_next_steps_can_be_pasted(report: GateReport) -> None:
    commands = [shlex.split(command) for step in report.steps for command in step.of_run("runs/my run").commands]
    assert [words[1] for words in commands] == ["audit", "diff", "waivers"]
    assert all("runs/my run" in words for words in commands)
    assert report.judged[0].finding.fingerprint in commands[-1]


def test_next_steps_follow_from_what_was_found() -> None:
    def texts(outcome: str, leaks: tuple[LeakedImage, ...], *findings: Finding) -> str:
        steps = next_steps(outcome, leaks, findings, has_training_images=False, audited="2026-06-01T10:00:00+00:00")  # type: ignore[arg-type]
        return "\n".join(line for step in steps for line in (step.text, *step.commands))

    unknown = found("a", None)
    assert "audit again with them" in texts("fail", leaks_of(unknown), unknown)
    assert "--expires 2026-08-30" in texts("fail", leaks_of(unknown), unknown)
    assert "only a suspicion" in texts("pass", (), finding(verdict="not_shown"))
    assert "Keep this run" in texts("pass", ())
    assert "plant canaries" in texts("inconclusive", ())
    assert "what the verdict names" in texts("inconclusive", ())  # not always the number of prompts
    assert "audit again" in texts("untrusted", ())
