"""Untrusted text fits the width it is given, and its hidden characters become visible."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flashbulb.reports.views.text import fitted_text, json_text, visible_text


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


LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
BIDI_MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(st.text(st.one_of(st.characters(), st.sampled_from(LINE_ENDS + BIDI_MARKS + "\U000e0041\x7f")), max_size=40))
def test_json_is_one_visible_line_and_means_the_same(text: str) -> None:
    line = json_text({"prompt": text})
    assert line.splitlines() == [line]
    assert line.isprintable()
    assert json.loads(line) == {"prompt": text}


def test_json_keeps_the_letters_of_every_script() -> None:
    assert json_text(["жар-птица", "猫", "🦊"]) == '["жар-птица", "猫", "🦊"]'
