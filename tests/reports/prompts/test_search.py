"""A prompt is found by every name that an output gives it, and several matches are listed."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from flashbulb.reports.bounds.replication import replication_of
from flashbulb.reports.checks.findings import Finding, FoundImage, Nearest
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.prompts.search import find_prompt
from flashbulb.reports.tables.files import RunFileError
from tests.reports.findings_examples import finding
from tests.reports.runs import LEAKS, PROMPTS, checked_example


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> CheckedRun:
    return checked_example(tmp_path_factory.mktemp("search") / "run", LEAKS, prompts=PROMPTS)


def scores_of(run: CheckedRun) -> pa.Table:
    return pa.Table.from_batches(run.tables.scores.to_batches(100))


def found(run: CheckedRun, wanted: str, findings: tuple[Finding, ...] | None = None) -> str:
    row = find_prompt(scores_of(run), wanted, run.findings if findings is None else findings, Path("run"))
    return str(row["prompt_id"])


@pytest.mark.parametrize(
    "name",
    [
        lambda finding, _: finding.fingerprint,
        lambda finding, _: finding.fingerprint[:9],
        lambda finding, _: finding.prompt_id,
        lambda _, number: str(number),
        lambda _, number: f"#{number}",
        lambda finding, _: f"captions.csv:{finding.source_row}",
        lambda finding, _: f"data/captions.csv:{finding.source_row}",
        lambda finding, _: finding.location,
        lambda finding, _: finding.prompt,
        lambda finding, _: f"T {finding.prompt.split()[1]} OF",
    ],
)
def test_every_name_leads_to_the_prompt(run: CheckedRun, name: Callable[[Finding, int], str]) -> None:
    for number, wanted in enumerate(run.findings, 1):
        assert found(run, name(wanted, number)) == wanted.prompt_id


def test_the_file_name_of_a_training_image_leads_to_the_prompt_that_gives_it(run: CheckedRun) -> None:
    image = FoundImage("f1", "confirmed", replication_of(1, 4), Nearest("/data/fox.png", 0.9, "verbatim"), 1)
    findings = (finding("p4", images=(image,)), finding("p5", images=()))
    assert found(run, "fox.png", findings) == "p4"
    with pytest.raises(RunFileError, match=r"file:row, image or text: 'owl\.png'"):
        found(run, "owl.png", findings)


@pytest.mark.parametrize("wanted", ["0", "99", "#99"])
def test_a_number_that_no_finding_has_is_no_part_of_a_prompt(run: CheckedRun, wanted: str) -> None:
    with pytest.raises(RunFileError, match=rf"has {len(run.findings)} findings, and no finding {wanted}"):
        found(run, wanted)
    with pytest.raises(RunFileError, match=rf"has 0 findings, and no finding {wanted}"):
        found(run, wanted, ())
    with pytest.raises(
        RunFileError, match=r"numbered once the audit is complete; continue with `flashbulb recover run`"
    ):
        find_prompt(scores_of(run), wanted, None, Path("run"))


def test_several_matches_are_listed_with_place_and_text(run: CheckedRun) -> None:
    with pytest.raises(RunFileError, match=r"'portrait 1' matches 11 prompts of run: p1 \(captions.csv:3: portrait 1 "):
        found(run, "portrait 1")


def test_a_finding_without_a_prompt_leads_to_the_report(run: CheckedRun) -> None:
    alone = finding(prompt_id=None, prompt=None, source_file=None, source_row=None, subject="x.png", images=())  # type: ignore[arg-type]
    with pytest.raises(RunFileError, match=r"finding 1 of run has no prompt; report\.html shows"):
        found(run, "1", (alone,))
