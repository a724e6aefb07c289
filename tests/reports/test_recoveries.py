"""A prompt, a control and a picture count once, however many rungs they took."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reports.recoveries import BestRung, best_rungs, count_by_strategy, recovery_counts
from reports.schema import RECOVERY_STRATEGIES, RECOVERY_VERDICTS
from tests.reports.examples import rung, rungs_table

LADDER = RECOVERY_STRATEGIES[:3]
Rungs = list[dict[str, Any]]


@st.composite
def ladders(draw: Callable[[Any], Any]) -> Rungs:
    """Prompts and controls that climb until the first success, and searches without a prompt."""
    rungs: Rungs = []
    for number in range(draw(st.integers(0, 6))):
        is_control = draw(st.booleans())
        height = draw(st.integers(1, 3))
        verdict = draw(st.sampled_from(RECOVERY_VERDICTS))
        finding = None if is_control or verdict == "not_shown" else f"f{draw(st.integers(0, 3))}"
        for strategy in LADDER[: height - 1]:
            rungs.append(rung(f"p{number}", "not_shown", strategy, is_control=is_control))
        last = rung(f"p{number}", verdict, LADDER[height - 1], is_control=is_control, finding_id=finding)
        rungs.append(last)
    for _ in range(draw(st.integers(0, 4))):
        verdict = draw(st.sampled_from(RECOVERY_VERDICTS))
        finding = None if verdict == "not_shown" else f"f{draw(st.integers(0, 3))}"
        rungs.append(rung(None, verdict, draw(st.sampled_from(RECOVERY_STRATEGIES[3:])), finding_id=finding))
    return rungs


@settings(max_examples=50, deadline=None)
@given(ladders())
def test_counts_equal_those_of_a_slow_count(rungs: Rungs) -> None:
    counts = recovery_counts(rungs_table(rungs))
    prompts = {row["prompt_id"] for row in rungs} - {None}
    controls = [p for p in prompts if any(row["prompt_id"] == p and row["is_control"] for row in rungs)]
    shown = [p for p in prompts if any(row["prompt_id"] == p and row["verdict"] != "not_shown" for row in rungs)]
    assert counts.n_controls == len(controls)
    assert counts.n_false_recoveries == len(set(shown) & set(controls))
    assert counts.n_recovered == len(set(shown) - set(controls))
    pictures = {row["finding_id"] for row in rungs if row["verdict"] == "confirmed" and not row["is_control"]}
    assert counts.n_confirmed_pictures == len(pictures)
    promptless = {row["finding_id"] for row in rungs if row["prompt_id"] is None} - {None}
    assert sum(counts.recovered_by.values()) == counts.n_recovered + len(promptless)
    assert set(counts.recovered_by) == {row["strategy"] for row in rungs if not row["is_control"]}


@settings(max_examples=50, deadline=None)
@given(ladders())
def test_strategies_of_a_ladder_add_up(rungs: Rungs) -> None:
    table = rungs_table(rungs)
    by_strategy = {count.strategy: count for count in count_by_strategy(table)}
    counts = recovery_counts(table)
    assert sum(count.evaluations for count in by_strategy.values()) == sum(row["evaluations"] for row in rungs)
    assert sum(count.n_false for count in by_strategy.values()) == counts.n_false_recoveries
    assert all(by_strategy[name].n_shown == counts.recovered_by.get(name, 0) for name in by_strategy if name in LADDER)
    assert all(count.n_shown <= count.n_tried and count.n_false <= count.n_controls for count in by_strategy.values())
    for lower, higher in (("sample", "ascend"), ("ascend", "cyclic")):
        if higher in by_strategy:
            assert by_strategy[higher].n_tried <= by_strategy[lower].n_tried - by_strategy[lower].n_shown


@settings(max_examples=50, deadline=None)
@given(ladders())
def test_the_best_rung_of_a_ladder_is_its_success(rungs: Rungs) -> None:
    best = best_rungs(rungs_table(rungs), [row["prompt_id"] for row in rungs if row["prompt_id"]])
    last = {row["prompt_id"]: row for row in rungs if row["prompt_id"]}
    assert {p: rung.verdict for p, rung in best.items()} == {p: row["verdict"] for p, row in last.items()}
    shown = {p: row["strategy"] for p, row in last.items() if row["verdict"] != "not_shown"}
    assert {p: best[p].strategy for p in shown} == shown


def test_a_picture_found_by_two_strategies_counts_where_it_came_first() -> None:
    rungs = [
        rung(None, "likely", "known_image", finding_id="f1"),
        rung(None, "confirmed", "discover", finding_id="f1"),
        rung("p0", "confirmed", "cyclic", finding_id="f1"),
    ]
    counts = recovery_counts(rungs_table(rungs))
    assert counts.recovered_by == {"cyclic": 1, "known_image": 1, "discover": 0}
    assert counts.n_confirmed_pictures == 1
    assert counts.n_recovered == 1


def test_no_rows_are_no_recoveries() -> None:
    counts = recovery_counts(rungs_table([]))
    assert (counts.n_recovered, counts.n_controls, counts.n_confirmed_pictures, counts.recovered_by) == (0, 0, 0, {})
    assert count_by_strategy(rungs_table([])) == ()
    assert best_rungs(rungs_table([]), ["p0"]) == {}


def test_a_rung_says_its_strategy_if_it_showed_a_picture() -> None:
    assert str(BestRung("confirmed", "ascend")) == "confirmed (ascend)"
    assert str(BestRung("not_shown", "cyclic")) == "not shown"
