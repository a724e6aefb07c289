"""A prompt, a control and an image each count once, however many attempts they took."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flashbulb.reports.tables.recoveries import (
    BestAttempt,
    best_attempts,
    copied_by_controls,
    count_by_strategy,
    recovery_counts,
)
from flashbulb.reports.tables.schema import RECOVERY_VERDICTS
from tests.reports.examples import attempt, attempts_table, memories_of, memories_table, memory

LADDER = ("sample", "ascend", "cyclic")
WITHOUT_PROMPT = ("known_image", "discover")
Attempts = list[dict[str, Any]]


@st.composite
def ladders(draw: Callable[[Any], Any]) -> Attempts:
    """Prompts and controls that are tried until the first success, and searches without a prompt."""
    attempts: Attempts = []
    for number in range(draw(st.integers(0, 6))):
        is_control = draw(st.booleans())
        n_strategies = draw(st.integers(1, 3))
        verdict = draw(st.sampled_from(RECOVERY_VERDICTS))
        finding = None if is_control or verdict == "not_shown" else f"f{draw(st.integers(0, 3))}"
        for strategy in LADDER[: n_strategies - 1]:
            attempts.append(attempt(f"p{number}", "not_shown", strategy, is_control=is_control))
        last = attempt(f"p{number}", verdict, LADDER[n_strategies - 1], is_control=is_control, finding_id=finding)
        attempts.append(last)
    for _ in range(draw(st.integers(0, 4))):
        verdict = draw(st.sampled_from(RECOVERY_VERDICTS))
        finding = None if verdict == "not_shown" else f"f{draw(st.integers(0, 3))}"
        attempts.append(attempt(None, verdict, draw(st.sampled_from(WITHOUT_PROMPT)), finding_id=finding))
    return attempts


@settings(max_examples=50, deadline=None)
@given(ladders())
def test_counts_equal_those_of_a_slow_count(attempts: Attempts) -> None:
    counts = recovery_counts(table := attempts_table(attempts), memories_of(table))
    prompts = {row["prompt_id"] for row in attempts} - {None}
    controls = [p for p in prompts if any(row["prompt_id"] == p and row["is_control"] for row in attempts)]
    shown = [p for p in prompts if any(row["prompt_id"] == p and row["verdict"] != "not_shown" for row in attempts)]
    assert counts.n_controls == len(controls)
    assert counts.n_false_recoveries == len(set(shown) & set(controls))
    assert counts.n_recovered == len(set(shown) - set(controls))
    images = {row["finding_id"] for row in attempts if row["verdict"] == "confirmed" and not row["is_control"]}
    assert counts.n_confirmed_pictures == len(images)
    promptless = {row["finding_id"] for row in attempts if row["prompt_id"] is None} - {None}
    assert sum(counts.recovered_by.values()) == counts.n_recovered + len(promptless)
    assert set(counts.recovered_by) == {row["strategy"] for row in attempts if not row["is_control"]}


def test_each_image_of_a_prompt_counts_once_however_many_prompts_give_it() -> None:
    rows = [attempt("p0", "confirmed", finding_id="f1"), attempt("p1", "confirmed", finding_id="f2")]
    more = [memory(rows[0], finding_id=name) for name in ("f1", "f2", "f3")]
    control = attempt("p2", "confirmed", is_control=True, finding_id=None)
    memories = memories_table([*more, memory(rows[1]), memory(control)])
    assert recovery_counts(attempts_table([*rows, control]), memories).n_confirmed_pictures == 3


@settings(max_examples=50, deadline=None)
@given(ladders())
def test_counts_by_strategy_add_up(attempts: Attempts) -> None:
    table = attempts_table(attempts)
    by_strategy = {count.strategy: count for count in count_by_strategy(table)}
    counts = recovery_counts(table, memories_of(table))
    assert sum(count.evaluations for count in by_strategy.values()) == sum(row["evaluations"] for row in attempts)
    assert sum(count.n_false for count in by_strategy.values()) == counts.n_false_recoveries
    assert all(by_strategy[name].n_shown == counts.recovered_by.get(name, 0) for name in by_strategy if name in LADDER)
    assert all(count.n_shown <= count.n_tried and count.n_false <= count.n_controls for count in by_strategy.values())
    for earlier, later in (("sample", "ascend"), ("ascend", "cyclic")):
        if later in by_strategy:
            assert by_strategy[later].n_tried <= by_strategy[earlier].n_tried - by_strategy[earlier].n_shown


@settings(max_examples=50, deadline=None)
@given(ladders())
def test_the_best_attempt_of_a_ladder_is_its_success(attempts: Attempts) -> None:
    best = best_attempts(attempts_table(attempts))
    last = {row["prompt_id"]: row for row in attempts if row["prompt_id"]}
    assert {p: attempt.verdict for p, attempt in best.items()} == {p: row["verdict"] for p, row in last.items()}
    shown = {p: row["strategy"] for p, row in last.items() if row["verdict"] != "not_shown"}
    assert {p: best[p].strategy for p in shown} == shown


def test_an_image_found_by_two_strategies_counts_for_the_first() -> None:
    attempts = [
        attempt(None, "likely", "known_image", finding_id="f1"),
        attempt(None, "confirmed", "discover", finding_id="f1"),
        attempt("p0", "confirmed", "cyclic", finding_id="f1"),
    ]
    counts = recovery_counts(table := attempts_table(attempts), memories_of(table))
    assert counts.recovered_by == {"cyclic": 1, "known_image": 1, "discover": 0}
    assert counts.n_confirmed_pictures == 1
    assert counts.n_recovered == 1


def test_a_table_without_rows_counts_nothing() -> None:
    counts = recovery_counts(attempts_table([]), memories_table([]))
    assert (counts.n_recovered, counts.n_controls, counts.n_confirmed_pictures, counts.recovered_by) == (0, 0, 0, {})
    assert count_by_strategy(attempts_table([])) == ()
    assert best_attempts(attempts_table([])) == {}


@settings(max_examples=50, deadline=None)
@given(ladders())
def test_strategies_are_counted_in_the_order_of_the_ladder(attempts: Attempts) -> None:
    table = attempts_table(attempts)
    for names in (
        [count.strategy for count in count_by_strategy(table)],
        list(recovery_counts(table, memories_of(table)).recovered_by),
    ):
        assert [name for name in names if name in LADDER] == [name for name in LADDER if name in names]


def test_an_attempt_names_its_strategy_only_if_it_showed_an_image() -> None:
    assert str(BestAttempt("confirmed", "ascend", is_control=False)) == "confirmed (ascend)"
    assert str(BestAttempt("not_shown", "cyclic", is_control=False)) == "not shown"


def test_an_attempt_on_a_control_says_so_since_its_prompt_is_not_flagged() -> None:
    rows = [
        attempt("p0", "not_shown", is_control=True),
        attempt("p1", "likely", is_control=True),
        attempt("p2", "likely"),
    ]
    best = {prompt: str(found) for prompt, found in best_attempts(attempts_table(rows)).items()}
    assert best == {"p0": "not shown, control", "p1": "likely (sample, control)", "p2": "likely (sample)"}


def test_training_images_that_plain_samples_of_controls_copy_are_found() -> None:
    copy = {"kind": "verbatim", "similarity": 0.9}
    rows = [
        memory(attempt("p0", "confirmed"), **copy, nearest_image="flagged.png"),
        memory(attempt("p1", "confirmed", is_control=True), **copy, nearest_image="missed.png"),
        memory(attempt("p2", "confirmed", is_control=True), **copy, nearest_image="missed.png"),
        memory(attempt("p3", "confirmed", is_control=True), **copy, nearest_image="climbed.png", p_hits=0),
        memory(attempt("p4", "likely", is_control=True), nearest_image="near.png", similarity=0.4),
    ]
    assert copied_by_controls(memories_table(rows)) == {"missed.png"}
