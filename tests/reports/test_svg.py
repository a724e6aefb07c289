"""Figures are SVG that a page can take in: small, themable, the same every time, and nothing in it runs."""

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from reports.drawing import DARK, LIGHT
from reports.svg import style_axes, svg_text, unit_axes, unit_figure, write
from reports.text import visible_text
from tests.reports.svg_examples import HOSTILE, ids_used, parsed, words


def figure(text: str = "words") -> Figure:
    drawn = unit_figure(200, arranged=False)
    axes = drawn.add_subplot()
    style_axes(axes)
    axes.plot([0, 1, 2], [0, 1, 4], "o-", color=LIGHT["leak"])
    write(axes, text, (1, 1), weight="bold", rotation=90)
    return drawn


def contrast(color: str, paper: str) -> float:
    """Contrast ratio of WCAG 2.1."""
    light, dark = sorted((_luminance(color), _luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert svg_text(figure(), name="a", alt="a curve") == svg_text(figure(), name="a", alt="a curve")


def test_ids_of_two_figures_in_a_page_differ() -> None:
    ids = [ids_used(parsed(svg_text(figure(), name=name, alt="a curve"))) for name in ("a", "b")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_a_figure_says_nothing_of_when_and_by_what_it_was_made() -> None:
    svg = svg_text(figure(), name="a", alt="a curve")
    assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 380 200" width="100%" role="img"')
    assert not [word for word in ("metadata", "<?xml", "DOCTYPE", "matplotlib", "figure_1", "<style") if word in svg]


def test_a_figure_leaves_the_callers_settings_as_they_were() -> None:
    before = dict(mpl.rcParams)
    svg_text(figure(), name="a", alt="a curve")
    assert dict(mpl.rcParams) == before


def test_words_are_words_of_a_size_and_weight() -> None:
    (text,) = [
        e for e in parsed(svg_text(figure("a red star"), name="a", alt="x")).iter("text") if e.text == "a red star"
    ]
    assert text.attrib["font-size"] == "9"
    assert text.attrib["font-weight"] == "700"
    assert "rotate(-90" in text.attrib["transform"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_are_shown_and_do_nothing(text: str) -> None:
    svg = svg_text(figure(text), name="a", alt=text or "nothing")
    if text.strip():
        assert visible_text(text, 300) in words(svg)
    assert parsed(svg).attrib["aria-label"] == visible_text(text or "nothing", 300)


def test_a_colour_that_no_page_could_change_is_refused() -> None:
    drawn = figure()
    drawn.axes[0].plot([0, 1], [0, 1], color="#123456")
    with pytest.raises(KeyError):
        svg_text(drawn, name="a", alt="x")


def test_a_whole_figure_can_be_drawn_on_in_its_own_units() -> None:
    drawn = unit_figure(100, arranged=False)
    write(unit_axes(drawn), "here", (40, 30), va="baseline")
    (text,) = parsed(svg_text(drawn, name="a", alt="x")).iter("text")
    assert (float(text.attrib["x"]), float(text.attrib["y"])) == pytest.approx((40, 30), abs=0.5)


def test_dark_pages_have_every_colour_of_light_ones() -> None:
    assert DARK.keys() == LIGHT.keys()


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("name", ["ink", "muted", "leak", "calm", "green", "violet", "ochre"])
def test_words_can_be_read_on_light_and_dark(theme: dict[str, str], name: str) -> None:
    assert contrast(theme[name], theme["paper"]) >= 4.5
