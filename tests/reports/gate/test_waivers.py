"""A waiver holds for one finding through its last day, and no waiver is applied or ignored silently."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.gate.judgement import judge
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.waivers import (
    Waiver,
    apply_waivers,
    copied_names,
    not_before,
    read_waivers,
    waiver_notes,
    waiver_states,
    waiver_toml,
)
from tests.reports.findings_examples import finding, findings, giving
from tests.reports.runs import LEAKS, checked_example
from tests.reports.waiver_examples import POOL, TODAY, written

DAYS = st.dates(TODAY - timedelta(days=3), TODAY + timedelta(days=3))


def waiver_for(waived: Finding, expires: date = TODAY) -> Waiver:
    return Waiver(fingerprint=waived.fingerprint, reason="signed off", owner="ana", expires=expires)


@st.composite
def waiver_lists(draw: st.DrawFn) -> list[Waiver]:
    return [waiver_for(waived, draw(DAYS)) for waived in draw(st.lists(st.sampled_from(POOL), unique=True))]


def test_a_waiver_of_an_image_is_of_no_other_image_of_the_prompt(tmp_path: Path) -> None:
    waived = giving("/a/fox.png", "/a/owl.png")
    waiver = waiver_for(waived).model_copy(update={"images": ("fox.png", "owl.png")})
    assert read_waivers(written(tmp_path, waiver_toml(waiver))) == (waiver,)
    unknown = replace(waived, images=tuple(image._replace(nearest=None) for image in waived.images))
    partly = [image._replace(nearest=image.nearest._replace(kind=None)) for image in waived.images if image.nearest]
    for same in (waived, giving("/b/owl.png"), unknown, replace(waived, images=tuple(partly))):
        assert apply_waivers([waiver], [same], TODAY).waived == {waived.fingerprint: waiver}
    for other in (giving("/a/cat.png"), giving("/a/fox.png", "/a/cat.png"), giving("?", verdict="likely")):
        applied = apply_waivers([waiver], [other], TODAY)
        assert applied.waived == {}
        assert [state.is_unused for state in waiver_states([waiver], [other], TODAY)] == [True]
        (note,) = waiver_notes(applied)
        assert note.startswith(f"Waiver {waived.fingerprint} by ana is of 2 training images")
        assert apply_waivers([waiver_for(waived)], [other], TODAY).waived  # of whatever the prompt gives


def test_a_waiver_names_images_only_where_all_are_copies() -> None:
    """Else it would not cover the finding that it was written for."""
    assert copied_names(giving("/a/fox.png", "/a/owl.png")) == {"fox.png", "owl.png"}
    assert copied_names(giving("/a/fox.png", "?")) == copied_names(finding()) == set()


@given(waiver_lists(), findings())
def test_every_waiver_holds_or_has_expired_or_is_unused(waivers: list[Waiver], found: list[Finding]) -> None:
    applied = apply_waivers(waivers, found, TODAY)
    by_state = (
        set(applied.waived),
        {w.fingerprint for _, w in applied.expired},
        {w.fingerprint for w in applied.unused},
    )
    assert sum(map(len, by_state)) == len(waivers)
    assert set().union(*by_state) == {waiver.fingerprint for waiver in waivers}
    assert set(applied.waived) <= {f.fingerprint for f in found}
    assert not any(waiver.expires < TODAY for waiver in applied.waived.values())
    assert all(waiver.expires < TODAY for _, waiver in applied.expired)


@given(waiver_lists(), findings())
def test_every_waiver_that_does_not_hold_is_named(waivers: list[Waiver], found: list[Finding]) -> None:
    applied = apply_waivers(waivers, found, TODAY)
    text = "\n".join(waiver_notes(applied))
    named = {waiver.fingerprint for waiver in waivers if waiver.fingerprint in text}
    assert named == {waiver.fingerprint for waiver in waivers} - set(applied.waived)


@given(waiver_lists(), findings(), st.integers(0, 5))
def test_waivers_only_lapse_with_time(waivers: list[Waiver], found: list[Finding], days: int) -> None:
    later = apply_waivers(waivers, found, TODAY + timedelta(days=days))
    assert set(later.waived) <= set(apply_waivers(waivers, found, TODAY).waived)


@pytest.mark.parametrize(("days", "is_expired"), [(-1, False), (0, False), (1, True)])
def test_a_waiver_holds_through_its_last_day(days: int, is_expired: bool) -> None:
    assert waiver_for(finding()).is_expired(TODAY + timedelta(days=days)) is is_expired


def test_the_waiver_of_a_spike_does_not_cover_an_image() -> None:
    waiver = waiver_for(finding("p1", "low", "not_shown"))
    applied = apply_waivers([waiver], [finding("p1", "high", "likely")], TODAY)
    assert applied.unused == (waiver,)


def test_fingerprints_depend_on_prompt_and_kind_only() -> None:
    again = finding(spike_score=9.0, p_value=0.5, image="finding-099", source_row=3, strategy="ascend")
    assert finding().fingerprint == again.fingerprint == "cb45644e0a890138"
    assert len({f.fingerprint for f in POOL}) == len(POOL)


def test_waived_findings_are_shown_and_not_counted(tmp_path: Path) -> None:
    run = checked_example(tmp_path, LEAKS)
    leaks = [f for f in run.findings if f.severity == "high"]

    def judged(waivers: list[Waiver]):
        return judge(run, Policy(), waivers, None, new_only=False, today=TODAY)

    assert judged([]).verdict.outcome == "fail"
    assert judged([waiver_for(leaks[0])]).verdict.outcome == "fail"
    report = judged([waiver_for(leak) for leak in leaks])
    assert report.verdict.outcome == "pass"
    assert [j.finding for j in report.judged] == list(run.findings)
    assert [j.standing for j in report.judged] == ["waived", "waived", "allowed", "allowed"]
    assert "Findings waived and not counted: 2." in report.notes
    expired = judged([waiver_for(leaks[0]), waiver_for(leaks[1], TODAY - timedelta(days=1))])
    assert expired.verdict.outcome == "fail"
    assert any(
        note.startswith(f"Expired waiver {leaks[1].fingerprint} by ana, until 2026-06-14: the recovered image (")
        for note in expired.notes
    )


def test_a_clock_that_is_behind_revives_no_waiver(tmp_path: Path) -> None:
    run = checked_example(tmp_path, LEAKS)
    waivers = [waiver_for(found) for found in run.findings]  # the last day is TODAY
    epoch = date(1970, 1, 1)
    for finished, outcome in (("2026-06-15T23:59:59+00:00", "pass"), ("2026-06-16T00:00:00+00:00", "fail")):
        earlier = run._replace(record=replace(run.record, finished=finished))
        report = judge(earlier, Policy(), waivers, None, new_only=False, today=epoch)
        assert report.verdict.outcome == outcome
        assert report.notes[0].startswith("The clock of this machine says 1970-01-01, and the audit was finished on ")
    for finished in (None, "", "yesterday", "9999-12-31T23:59:59-10:00"):
        assert not_before(finished, TODAY) == TODAY


def test_waivers_never_make_an_audit_trusted(tmp_path: Path) -> None:
    run = checked_example(tmp_path, LEAKS, n_false=8)
    waivers = [waiver_for(f) for f in run.findings]
    assert judge(run, Policy(), waivers, None, new_only=False, today=TODAY).verdict.exit_code == 3
