"""The figure of recovery states both final rates with their intervals, and draws whatever the ladder gave."""

import warnings

import pytest

from reports.recovery_figure import TriedPrompt, recovery_curves
from tests.reports.svg_examples import HOSTILE, parsed, words


def came(ue: int, strategy: str = "sample", is_control: bool = False) -> TriedPrompt:
    return TriedPrompt(ue, ue, strategy, is_control)


def nothing(is_control: bool = False) -> TriedPrompt:
    return TriedPrompt(None, 4000, None, is_control)


FLAGGED = [*[came(400)] * 45, *[came(1600, "ascend")] * 15, *[came(2800, "cyclic")] * 7, *[nothing()] * 12]
CONTROLS = [came(400, is_control=True), *[came(2800, "ascend", is_control=True)] * 2, *[nothing(True)] * 76]


def drawn(prompts: list[TriedPrompt]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return recovery_curves(prompts)


def test_both_final_rates_are_stated_with_their_intervals() -> None:
    svg = drawn([*FLAGGED, *CONTROLS])
    assert "flagged: 67 of 79 gave a picture, 84.8 % (75.3 to 91.1 %)" in words(svg)
    assert "controls: 3 of 79 gave a picture, 3.8 % (1.3 to 10.6 %)" in words(svg)
    assert "67 of 79" in parsed(svg).attrib["aria-label"]


def test_strategies_other_than_plain_samples_are_marked() -> None:
    assert "by ● ascend, ▲ cyclic; otherwise by plain samples" in words(drawn([*FLAGGED, *CONTROLS]))
    assert not [text for text in words(drawn(FLAGGED[:45])) if "plain samples" in text]


def test_a_picture_at_the_same_place_is_marked_once() -> None:
    marks = [len(list(parsed(drawn([came(900, "ascend")] * n)).iter("use"))) for n in (1, 70)]
    assert marks[0] == marks[1]


@pytest.mark.parametrize(
    "prompts",
    [
        [came(200)],
        [nothing()],
        [nothing(True)],
        [nothing(), nothing(True)],
        [came(0), came(1)],
        [came(10**9, "ascend"), nothing()],
        [*[came(400)] * 50, *[came(400, is_control=True)] * 50],
        [came(i, f"strategy {i}") for i in range(1, 9)],
    ],
)
def test_any_recovery_is_drawn(prompts: list[TriedPrompt]) -> None:
    svg = drawn(prompts)
    assert any(text.startswith("flagged:") for text in words(svg)) == any(not p.is_control for p in prompts)
    assert any(text.startswith("controls:") for text in words(svg)) == any(p.is_control for p in prompts)


@pytest.mark.parametrize("strategy", HOSTILE)
def test_no_strategy_breaks_a_figure(strategy: str) -> None:
    drawn([came(300, strategy), came(200)])


def test_no_recovery_is_refused() -> None:
    with pytest.raises(ValueError, match="no prompt was tried"):
        recovery_curves([])
