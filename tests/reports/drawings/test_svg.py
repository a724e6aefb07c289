"""Figures are SVG for embedding in a page: small, themable, deterministic and without scripts."""

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from flashbulb.reports.drawings.svg import draw_text, style_axes, svg_text, unit_axes, unit_figure
from flashbulb.reports.figures.drawing import DARK, LIGHT
from flashbulb.reports.views.text import visible_text
from tests.reports.svg_examples import HOSTILE, ids_used, parsed, words


def figure(text: str = "some text") -> Figure:
    drawn = unit_figure(200, auto_layout=False)
    axes = drawn.add_subplot()
    style_axes(axes)
    axes.plot([0, 1, 2], [0, 1, 4], "o-", color=LIGHT["leak"])
    draw_text(axes, text, (1, 1), weight="bold", rotation=90)
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


def test_a_figure_does_not_reveal_when_or_by_what_it_was_made() -> None:
    svg = svg_text(figure(), name="a", alt="a curve")
    assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 380 200" width="100%" role="img"')
    assert not [part for part in ("metadata", "<?xml", "DOCTYPE", "matplotlib", "figure_1", "<style") if part in svg]


def test_drawing_leaves_the_settings_of_matplotlib_unchanged() -> None:
    before = dict(mpl.rcParams)
    svg_text(figure(), name="a", alt="a curve")
    assert dict(mpl.rcParams) == before


def test_text_stays_text_with_its_size_and_weight() -> None:
    (text,) = [
        e for e in parsed(svg_text(figure("a red star"), name="a", alt="x")).iter("text") if e.text == "a red star"
    ]
    assert text.attrib["font-size"] == "9"
    assert text.attrib["font-weight"] == "700"
    assert "rotate(-90" in text.attrib["transform"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_harmless(text: str) -> None:
    svg = svg_text(figure(text), name="a", alt=text or "nothing")
    if text.strip():
        assert visible_text(text, 300) in words(svg)
    assert parsed(svg).attrib["aria-label"] == visible_text(text or "nothing", 300)


def test_a_colour_that_the_page_cannot_change_is_refused() -> None:
    drawn = figure()
    drawn.axes[0].plot([0, 1], [0, 1], color="#123456")
    with pytest.raises(KeyError):
        svg_text(drawn, name="a", alt="x")


def test_unit_axes_draw_in_the_units_of_the_figure() -> None:
    drawn = unit_figure(100, auto_layout=False)
    draw_text(unit_axes(drawn), "here", (40, 30), va="baseline")
    (text,) = parsed(svg_text(drawn, name="a", alt="x")).iter("text")
    assert (float(text.attrib["x"]), float(text.attrib["y"])) == pytest.approx((40, 30), abs=0.5)


def test_dark_pages_have_every_colour_of_light_ones() -> None:
    assert DARK.keys() == LIGHT.keys()


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("name", ["ink", "muted", "leak", "calm", "green", "violet", "ochre"])
def test_text_is_readable_on_light_and_dark_pages(theme: dict[str, str], name: str) -> None:
    assert contrast(theme[name], theme["paper"]) >= 4.5
