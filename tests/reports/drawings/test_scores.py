"""Figures of scores state counts and threshold, and draw any scores of an audit."""

import re
import warnings
from collections.abc import Sequence

import numpy as np
import pytest

from flashbulb.reports.drawings.calibration import STYLE_COLORS, calibration
from flashbulb.reports.drawings.scores import score_distributions, text_null
from tests.cases import each_with_one
from tests.reports.svg_examples import HOSTILE, painted, parsed, words

RNG = np.random.default_rng(0)
REFERENCE = list(RNG.normal(0.75, 0.1, 600))
CANDIDATES = list(RNG.normal(0.75, 0.1, 1077))
FLAGGED = list(RNG.uniform(1.1, 1.9, 79))
NAN, INF = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def _no_warnings() -> None:
    warnings.simplefilter("error")


def test_distributions_state_counts_and_threshold() -> None:
    svg = score_distributions(REFERENCE, CANDIDATES, FLAGGED, 1.06, name="all")
    assert {"600 reference prompts", "1,156 candidates, 79 of them flagged", "threshold 1.06"} <= set(words(svg))
    assert "threshold is 1.06" in parsed(svg).attrib["aria-label"]
    assert len(svg) < 20_000


def test_only_flagged_prompts_are_painted_as_leaks() -> None:
    assert painted(score_distributions(REFERENCE, CANDIDATES, FLAGGED, 1.06, name="all"), "leak") == 1
    assert painted(score_distributions(REFERENCE, CANDIDATES, [], 1.06, name="all"), "leak") == 0


@pytest.mark.parametrize(
    ("reference", "unflagged", "flagged", "threshold"),
    [
        (REFERENCE, [], [], None),
        ([], CANDIDATES, [], 1.0),
        ([], [], [1.2], None),
        ([1.0] * 600, [1.0] * 50, [], 1.0),
        ([0.0], [0.0], [1e9], 1.0),
        ([-1.0, 5.0], [1e-12], [1e-12], None),
    ],
)
def test_any_scores_are_drawn(
    reference: Sequence[float], unflagged: Sequence[float], flagged: Sequence[float], threshold: float | None
) -> None:
    svg = score_distributions(reference, unflagged, flagged, threshold, name="all")
    assert ("threshold 1" in words(svg)) == (threshold is not None)
    assert sum("prompt" in text and "reference" in text for text in words(svg)) == bool(reference)


def test_non_finite_scores_are_left_out_and_counted() -> None:
    svg = score_distributions([*REFERENCE, NAN], CANDIDATES, [INF, *FLAGGED], 1.06, name="all")
    assert "spike score (2 not finite, left out)" in words(svg)
    assert "600 reference prompts" in words(svg)


@pytest.mark.parametrize("scores", [[], [NAN], [INF, -INF]])
def test_distributions_without_finite_scores_are_refused(scores: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="no finite score"):
        score_distributions(scores, [], scores, 1.0, name="all")


def test_calibration_states_the_observed_rate_with_its_interval() -> None:
    p_values = [(rank + 1) / 601 for rank in range(600)]
    svg = calibration({"all": p_values}, 0.01)
    assert {"all (600 prompts)", "at the nominal 1 %", "1 % (0.368 to 2.16 %)"} <= set(words(svg))
    assert "1 % (0.368 to 2.16 %)" in parsed(svg).attrib["aria-label"]


@pytest.mark.parametrize(("n_styles", "n_lines"), [(1, 1), (2, 3), (5, 6), (8, 6)])
def test_calibration_draws_one_line_per_style_and_one_over_all(n_styles: int, n_lines: int) -> None:
    svg = calibration({f"style {i}": list(RNG.uniform(size=50)) for i in range(n_styles)}, 0.01)
    assert sum(text.endswith("prompts)") for text in words(svg)) == n_lines
    assert (f"{n_styles - len(STYLE_COLORS)} more styles not drawn" in words(svg)) == (n_styles > len(STYLE_COLORS))


@pytest.mark.parametrize(
    ("p_values", "fpr"),
    each_with_one([[0.5], [0.0] * 9, [1.0] * 9, [1e-9, 1.0]], [0.0001, 0.01, 0.5]),
)
def test_any_p_values_are_drawn(p_values: Sequence[float], fpr: float) -> None:
    parsed(calibration({"a": p_values, "b": [0.2], "empty": []}, fpr))


@pytest.mark.parametrize("p_values", [{}, {"a": []}])
def test_calibration_without_reference_is_refused(p_values: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="no held-out reference"):
        calibration(p_values, 0.01)


@pytest.mark.parametrize("invalid", [NAN, -0.1, 1.1, INF])
def test_an_invalid_p_value_is_refused(invalid: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibration({"a": [0.5, invalid]}, 0.01)


@pytest.mark.parametrize("style", HOSTILE)
def test_no_style_breaks_a_figure(style: str) -> None:
    parsed(calibration({style: [0.5], "other": [0.2]}, 0.01))


def test_text_only_scores_are_drawn_with_their_auc() -> None:
    svg = text_null(list(RNG.normal(0.6, 0.1, 79)), list(RNG.normal(0.4, 0.1, 600)), 0.683, "reference")
    assert {"flagged (79)", "reference (600)", "AUC 0.68"} <= set(words(svg))
    assert "79 flagged from 600 reference prompts with an AUC of 0.68" in parsed(svg).attrib["aria-label"]


def test_without_a_reference_the_figure_names_the_unflagged() -> None:
    svg = text_null([0.6, 0.7], [0.2, 0.4], 1.0, "unflagged")
    assert {"unflagged (2)", "share of unflagged"} <= set(words(svg))
    assert "reference" not in svg


@pytest.mark.parametrize(("flagged", "reference"), [([0.5], [0.5]), ([1.0], [0.0]), ([0.5] * 9, [0.5, NAN])])
def test_any_text_only_scores_are_drawn(flagged: Sequence[float], reference: Sequence[float]) -> None:
    parsed(text_null(flagged, reference, 0.5, "reference"))


@pytest.mark.parametrize(("flagged", "reference"), [([], [0.5]), ([0.5], []), ([NAN], [0.5])])
def test_the_text_only_figure_needs_both_sets(flagged: Sequence[float], reference: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="no flagged or no reference"):
        text_null(flagged, reference, 0.5, "reference")


def test_figures_of_two_styles_share_no_id() -> None:
    pages = [score_distributions(REFERENCE, CANDIDATES, FLAGGED, 1.06, name=name) for name in ("1", "2")]
    first, second = (set(re.findall(r'\bid="([^"]+)"', page)) for page in pages)
    assert first
    assert not first & second
