"""How waivers, a baseline, the order of findings and one more finding can change a judgement."""

from dataclasses import replace
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from flashbulb.reports.checks.findings import Finding, recount
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.gate.judgement import judge
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.waivers import Waiver
from tests.reports.examples import attempt, empty_tables, memories_table, memory, results, run_record
from tests.reports.findings_examples import finding, findings
from tests.reports.policies import POLICIES

FEWER = settings(max_examples=40)
TODAY = date(2026, 6, 15)
ORDER = ("pass", "inconclusive", "fail", "untrusted")
TRUSTED: dict[str, object] = {"n_left_out": 0, "style_shift": 0.5}
DOUBTS = st.sampled_from(
    [
        {"n_scored": 90},
        {"n_false_recoveries": 6},
        {"n_left_out": 2},
        {"style_shift": None},
        {"style_shift": 0.9},
        {"problems": ("a site did not fire",)},
    ]
)
FACTS = st.just(TRUSTED) | DOUBTS.map(lambda doubt: TRUSTED | doubt)


def checked(found: list[Finding], facts: dict[str, object]) -> CheckedRun:
    """A finished audit of 100 prompts with the findings `found`."""
    return CheckedRun(run_record(), recount(results(**facts), found), tuple(found), empty_tables())


def outcome(
    found: list[Finding],
    facts: dict[str, object],
    policy: Policy,
    waivers: list[Waiver] | None = None,
    old: list[Finding] | None = None,
) -> str:
    run, baseline = checked(found, facts), None if old is None else checked(old, TRUSTED)
    report = judge(run, policy, waivers or [], baseline, new_only=baseline is not None, today=TODAY)
    return report.verdict.outcome


@st.composite
def waivers_for(draw: st.DrawFn, found: list[Finding]) -> list[Waiver]:
    """Waivers of some of the findings, some of them expired."""
    chosen = [finding for finding in found if draw(st.booleans())]
    days = [TODAY + timedelta(days=draw(st.integers(-2, 2))) for _ in chosen]
    return [
        Waiver(fingerprint=finding.fingerprint, reason="r", owner="o", expires=day)
        for finding, day in zip(chosen, days, strict=True)
    ]


@FEWER
@given(findings(), FACTS, POLICIES, st.data())
def test_waivers_never_make_an_audit_trusted_nor_a_verdict_worse(
    found: list[Finding], facts: dict[str, object], policy: Policy, data: st.DataObject
) -> None:
    without = outcome(found, facts, policy)
    waived = outcome(found, facts, policy, data.draw(waivers_for(found)))
    assert (waived == "untrusted") == (without == "untrusted")
    assert ORDER.index(waived) <= ORDER.index(without)


@FEWER
@given(findings(), FACTS, POLICIES, st.data())
def test_one_more_waiver_never_makes_the_verdict_worse(
    found: list[Finding], facts: dict[str, object], policy: Policy, data: st.DataObject
) -> None:
    waivers = data.draw(waivers_for(found))
    outcomes = [outcome(found, facts, policy, waivers[:n]) for n in range(len(waivers) + 1)]
    assert [ORDER.index(o) for o in outcomes] == sorted((ORDER.index(o) for o in outcomes), reverse=True)


@FEWER
@given(findings(), findings(), FACTS)
def test_a_baseline_never_makes_an_audit_trusted(
    old: list[Finding], new: list[Finding], facts: dict[str, object]
) -> None:
    for limits in (Policy(), Policy(max_high=99, max_low=1, max_confirmed=99), Policy(required_tiers=(3,))):
        if outcome(old, TRUSTED, limits) != "untrusted":
            without, known = outcome(new, facts, limits), outcome(new, facts, limits, old=old)
            assert (known == "untrusted") == (without == "untrusted")
            assert ORDER.index(known) <= ORDER.index(without)


@FEWER
@given(findings(), FACTS, POLICIES, st.data())
def test_the_order_of_findings_and_waivers_does_not_matter(
    found: list[Finding], facts: dict[str, object], policy: Policy, data: st.DataObject
) -> None:
    waivers = data.draw(waivers_for(found))
    shuffled_findings, shuffled_waivers = data.draw(st.permutations(found)), data.draw(st.permutations(waivers))
    first = judge(checked(found, facts), policy, waivers, None, new_only=False, today=TODAY)
    second = judge(checked(shuffled_findings, facts), policy, shuffled_waivers, None, new_only=False, today=TODAY)
    assert first.verdict == second.verdict
    assert {j.finding: j.standing for j in first.judged} == {j.finding: j.standing for j in second.judged}


@FEWER
@given(findings(), FACTS, POLICIES, st.sampled_from(["confirmed", "likely", "not_shown"]))
def test_one_more_finding_never_turns_a_failure_into_a_pass(
    found: list[Finding], facts: dict[str, object], policy: Policy, verdict: str
) -> None:
    more = [*found, finding("p99", "low" if verdict == "not_shown" else "high", verdict)]
    before, after = outcome(found, facts, policy), outcome(more, facts, policy)
    assert not (before in ("fail", "inconclusive") and after == "pass")


@FEWER
@given(findings(), FACTS, POLICIES)
def test_a_failure_has_a_finding_that_breaks_a_limit(
    found: list[Finding], facts: dict[str, object], policy: Policy
) -> None:
    report = judge(checked(found, facts), policy, [], None, new_only=False, today=TODAY)
    assert report.verdict.exit_code == {"pass": 0, "inconclusive": 0, "fail": 1, "untrusted": 3}[report.verdict.outcome]
    if report.verdict.outcome == "fail":
        assert any(judged.standing == "breaks" for judged in report.judged)


def test_a_copy_by_a_control_keeps_an_audit_from_passing() -> None:
    run = checked([], TRUSTED)
    copied = memory(attempt("p9", "confirmed", is_control=True, nearest_image="a.png", similarity=0.9, kind="verbatim"))
    told = run._replace(tables=replace(run.tables, memories=memories_table([copied])))
    lax = Policy(min_power=0.0)
    assert [judge(r, lax, [], None, new_only=False, today=TODAY).verdict.outcome for r in (run, told)] == [
        "pass",
        "inconclusive",
    ]
