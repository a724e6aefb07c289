"""Two audits are compared prompt by prompt, or not at all."""

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.gate.diff import NotComparableError, check_comparable, compare, comparison_notes
from flashbulb.reports.gate.judgement import GateReport, judge
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.leaks.images import CopiedImage
from flashbulb.reports.tables.files import RunIncompleteError
from tests.reports.examples import run_record
from tests.reports.findings_examples import finding, findings, giving
from tests.reports.runs import LEAKS, checked_example

MIRRORED = {"new": "fixed", "fixed": "new", "worse": "better", "better": "worse", "unchanged": "unchanged"}
TODAY = date(2026, 6, 15)


@given(findings())
def test_nothing_changes_between_a_run_and_itself(same: list[Finding]) -> None:
    assert {changed.change for changed in compare(same, same, {})} <= {"unchanged"}


@given(findings(), findings())
def test_every_prompt_changes_in_one_way(old: list[Finding], new: list[Finding]) -> None:
    changes = compare(old, new, {})
    subjects = [changed.finding.subject for changed in changes]
    assert sorted(subjects) == sorted({finding.subject for finding in [*old, *new]})
    assert {c.finding for c in changes if c.change != "fixed"} == set(new)


@given(findings(), findings())
def test_comparing_in_reverse_gives_the_opposite_changes(old: list[Finding], new: list[Finding]) -> None:
    forward, backward = ({c.finding.subject: c.change for c in compare(*pair, {})} for pair in ((old, new), (new, old)))
    assert {subject: MIRRORED[change] for subject, change in forward.items()} == backward


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (("low", "not_shown"), ("medium", "not_shown"), "worse"),
        (("medium", "not_shown"), ("high", "likely"), "worse"),
        (("high", "likely"), ("high", "confirmed"), "worse"),
        (("low", "not_tried"), ("low", "not_shown"), "unchanged"),
        (("high", "confirmed"), ("low", "not_shown"), "better"),
    ],
)
def test_an_image_is_worse_than_a_spike(old: tuple[str, str], new: tuple[str, str], change: str) -> None:
    (changed,) = compare([finding("p0", *old)], [finding("p0", *new, spike_score=0.1)], {})
    assert changed.change == change


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (giving("/a/fox.png"), giving("/a/fox.png", "/a/owl.png"), "worse"),
        (giving("/a/fox.png", "/a/owl.png"), giving("/a/owl.png"), "better"),
        (giving("/a/fox.png"), giving("/a/owl.png"), "worse"),
        (giving("/a/fox.png"), giving("/a/owl.png", verdict="likely"), "worse"),
        (giving("/a/fox.png"), giving("/b/fox.png"), "unchanged"),
        (giving("/b/owl.png"), giving("/b/fox.png"), "worse"),
        (giving("/b/owl.png"), giving("/b/owl copy.png"), "unchanged"),
        (giving("?"), giving("?"), "unchanged"),
        (giving("?"), giving("?", "?"), "worse"),
    ],
)
def test_another_image_of_a_known_prompt_is_worse_wherever_the_training_images_lie(
    old: Finding, new: Finding, change: str
) -> None:
    copied = {
        **{f"/{folder}/fox.png": CopiedImage("fox.png", 0) for folder in "ab"},
        "/b/owl.png": CopiedImage("owl.png", 1),
        "/b/owl copy.png": CopiedImage("owl copy.png", 1),
    }
    (changed,) = compare([old], [new], copied)
    assert changed.change == change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"fpr": 0.02}}, "settings.fpr was 0.01, now 0.02"),
        ({"settings": {"seed": 1}}, "settings.seed was 0, now 1"),
        ({"settings": {"n_seeds": 8}}, "settings.n_seeds was None, now 8"),
        ({"settings": {"train_images": "images"}}, "training images given was False, now True"),
        ({"inputs": {"prompts": {"sha256": "89"}}}, "prompts was '4567, column None', now '89, column None'"),
        ({"inputs": {"prompts": {"sha256": "4567", "text_column": "b"}}}, "now '4567, column b'"),
        ({"inputs": {"reference": {"sha256": "cd"}}}, "reference was '89ab, column None', now 'cd, column None'"),
    ],
)
def test_runs_with_other_prompts_or_settings_are_refused_with_both_values(
    changes: dict[str, Any], message: str
) -> None:
    old = run_record()
    new = replace(old, **{name: {**getattr(old, name), **value} for name, value in changes.items()})
    with pytest.raises(NotComparableError) as caught:
        check_comparable(old, new)
    assert message in str(caught.value)


def test_runs_with_other_paths_devices_and_models_can_be_compared() -> None:
    old = run_record()
    elsewhere = {"model": "ckpt-2", "out": "runs/2", "device": "cuda", "batch_size": 8, "prompts": "/ci/captions.csv"}
    new = replace(old, settings={**old.settings, **elsewhere}, model=replace(old.model, fingerprint="f2"))
    check_comparable(old, new)
    assert comparison_notes(old, new) == ()
    (note,) = comparison_notes(old, replace(new, versions={"flashbulb": "9.9"}))
    assert "0.1.0 and 9.9" in note


def test_runs_in_the_wrong_order_are_named() -> None:
    """With --new-only, all that the older of two audits found is known from the newer one."""
    early, late = (replace(run_record(), finished=f"2026-06-{day}T00:00:00+00:00") for day in (14, 15))
    assert comparison_notes(early, late) == comparison_notes(early, early) == ()
    (note,) = comparison_notes(late, early)
    assert "right order" in note
    for unknown in (None, "yesterday", "2026-06-13"):  # the last lacks a zone, so it is no time of ours
        assert comparison_notes(late, replace(early, finished=unknown)) == ()


def new_only(tmp_path: Path, old: dict[int, str], new: dict[int, str], **options: Any) -> GateReport:
    runs = [checked_example(tmp_path / name, severities) for name, severities in (("old", old), ("new", new))]
    return judge(runs[1], Policy(), (), runs[0], **{"new_only": True, "today": TODAY, **options})


def test_training_images_that_were_taken_out_are_said() -> None:
    """An audit finds no copy of an image that it is not given, so the finding looks better without any training."""
    old = run_record()
    given = {"source": "images", "n_images": 2, "sha256": "ab"}
    old, same, other, none = (
        replace(old, inputs={**old.inputs, "training_images": described})
        for described in (given, given | {"source": "moved"}, given | {"n_images": 1, "sha256": "cd"}, None)
    )
    assert comparison_notes(old, same) == comparison_notes(old, none) == comparison_notes(none, old) == ()
    (note,) = comparison_notes(old, other)
    assert "2 in the older run, 1 in the newer one" in note


def test_known_findings_are_shown_but_not_counted(tmp_path: Path) -> None:
    report = new_only(tmp_path, LEAKS, LEAKS)
    assert report.verdict.outcome == "pass"
    assert Counter(judged.standing for judged in report.judged) == {"known": 4}
    assert "Findings known from the baseline and not counted: 4." in report.notes


@pytest.mark.parametrize("new", [{**LEAKS, 4: "high"}, {**LEAKS, 3: "high"}])
def test_new_and_worse_findings_count(tmp_path: Path, new: dict[int, str]) -> None:
    report = new_only(tmp_path, LEAKS, new)
    assert report.verdict.outcome == "fail"
    (breaking,) = (judged for judged in report.judged if judged.standing == "breaks")
    assert breaking.change in ("new", "worse")
    assert report.results is not None
    assert (report.results.n_high, report.results.n_confirmed_pictures) == (1, 1)


def test_a_finding_that_is_gone_is_fixed_and_a_baseline_alone_excuses_nothing(tmp_path: Path) -> None:
    report = new_only(tmp_path, LEAKS, {0: "high"}, new_only=False)
    assert report.verdict.outcome == "fail"
    assert [finding.prompt_id for finding in report.fixed] == ["p1", "p2", "p3"]


def test_an_untrusted_baseline_excuses_nothing(tmp_path: Path) -> None:
    old = checked_example(tmp_path / "old", LEAKS, n_false=8)
    new = checked_example(tmp_path / "new", LEAKS)
    with pytest.raises(RunIncompleteError, match="the baseline is untrusted: 8 of 8 controls"):
        judge(new, Policy(), (), old, new_only=True, today=TODAY)
