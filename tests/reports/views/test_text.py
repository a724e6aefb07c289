"""Untrusted text fits the width it is given, and its hidden characters become visible."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flashbulb.reports.views.text import fitted_text, visible_text


@given(st.text(max_size=80), st.integers(2, 60))
def test_fitted_text_never_exceeds_its_cells(text: str, cells: int) -> None:
    shown = fitted_text(text, cells)
    assert cell_len(shown) <= cells
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn"}]


@given(st.text(max_size=20))
def test_text_that_fits_is_not_cut(text: str) -> None:
    assert fitted_text(text, 1000) == visible_text(text, 1000)


def test_text_that_is_cut_ends_with_an_ellipsis() -> None:
    assert fitted_text("a red star over the sea", 10) == "a red sta…"
    assert fitted_text("猫が屋根の上にいる", 9) == "猫が屋根…"
