"""The recovery figure states both final rates with their intervals, and draws any result of recovery."""

import warnings

import pytest

from flashbulb.reports.drawings.recovery import TriedPrompt, recovery_curves
from tests.reports.svg_examples import HOSTILE, parsed, words


def recovered(ue: int, strategy: str = "sample", is_control: bool = False) -> TriedPrompt:
    return TriedPrompt(ue, ue, strategy, is_control)


def not_recovered(is_control: bool = False) -> TriedPrompt:
    return TriedPrompt(None, 4000, None, is_control)


FLAGGED = [
    *[recovered(400)] * 45,
    *[recovered(1600, "ascend")] * 15,
    *[recovered(2800, "cyclic")] * 7,
    *[not_recovered()] * 12,
]
CONTROLS = [
    recovered(400, is_control=True),
    *[recovered(2800, "ascend", is_control=True)] * 2,
    *[not_recovered(True)] * 76,
]


def draw(prompts: list[TriedPrompt]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return recovery_curves(prompts)


def test_both_final_rates_are_stated_with_their_intervals() -> None:
    svg = draw([*FLAGGED, *CONTROLS])
    assert "flagged: 67 of 79 gave an image, 84.8 % (75 to 91.9 %)" in words(svg)
    assert "controls: 3 of 79 gave an image, 3.8 % (0.79 to 10.7 %)" in words(svg)
    assert "67 of 79" in parsed(svg).attrib["aria-label"]


def test_strategies_other_than_sampling_are_marked() -> None:
    assert "by ● ascend, ▲ cyclic; unmarked: by sampling" in words(draw([*FLAGGED, *CONTROLS]))
    assert not [text for text in words(draw(FLAGGED[:45])) if "by sampling" in text]


def test_the_line_of_controls_ends_where_they_were_tried_no_further() -> None:
    """Controls climb as far as an image of a flagged prompt: a line to the end would say that they were tried there."""

    def end_of_line(prompts: list[TriedPrompt], width: float) -> float:
        (line,) = (path for path in parsed(draw(prompts)).iter("path") if path.get("stroke-width") == f"{width}")
        return float(line.attrib["d"].split()[-2])

    flagged = [recovered(400), not_recovered()]
    for prompts, share in (([*flagged, TriedPrompt(None, 400, None, True)], 0.5), ([*flagged, not_recovered(True)], 1)):
        assert end_of_line(prompts, 1.3) <= share * end_of_line(prompts, 2.6)
    assert end_of_line([recovered(400)], 2.6) > end_of_line([TriedPrompt(None, 400, None, False)], 2.6)


def test_images_at_the_same_cost_share_one_mark() -> None:
    marks = [len(list(parsed(draw([recovered(900, "ascend")] * n)).iter("use"))) for n in (1, 70)]
    assert marks[0] == marks[1]


@pytest.mark.parametrize(
    "prompts",
    [
        [recovered(200)],
        [not_recovered()],
        [not_recovered(True)],
        [not_recovered(), not_recovered(True)],
        [recovered(0), recovered(1)],
        [recovered(10**9, "ascend"), not_recovered()],
        [*[recovered(400)] * 50, *[recovered(400, is_control=True)] * 50],
        [recovered(i, f"strategy {i}") for i in range(1, 9)],
    ],
)
def test_any_recovery_is_drawn(prompts: list[TriedPrompt]) -> None:
    svg = draw(prompts)
    assert any(text.startswith("flagged:") for text in words(svg)) == any(not p.is_control for p in prompts)
    assert any(text.startswith("controls:") for text in words(svg)) == any(p.is_control for p in prompts)


@pytest.mark.parametrize("strategy", HOSTILE)
def test_no_strategy_breaks_a_figure(strategy: str) -> None:
    draw([recovered(300, strategy), recovered(200)])


def test_no_recovery_is_refused() -> None:
    with pytest.raises(ValueError, match="no prompt was tried"):
        recovery_curves([])
