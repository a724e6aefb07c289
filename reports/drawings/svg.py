"""Figures as inline SVG: text in the page's font, colours that its stylesheet can change, and no scripts."""

import io
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from flashbulb.reports.figures.drawing import FAINT, INK, LIGHT, MUTED, ignore_missing_glyphs
from flashbulb.reports.views.text import visible_text

Vector = npt.NDArray[np.float64]

WIDTH = 380.0
"""Width of every figure in its own units. Text of 10 units is 9 px high on a phone of 340 px, 15 px at 560 px."""
FONT = 10.0
SMALL = 9.0
_POINTS = 72  # units per inch
_LONGEST = 300  # characters of a text

_VARIABLES = {color: f"var(--{name}, {color})" for name, color in LIGHT.items()}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_ROUNDED = {"d", "x", "y", "width", "height"}
_HREF = "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"style", "font-family", "font", _HREF}


def svg_text(figure: Figure, *, name: str, alt: str) -> str:
    """Render a figure as an `<svg>` element of flexible width. The same figure gives the same bytes.

    Every colour is one of `LIGHT` and can be redefined as the CSS variable of its name. No `style` element or
    attribute is used, and no font is named.

    Args:
        name: unique in the page, so that the ids of two figures differ.
        alt: describes the figure to readers who cannot see it.

    Raises:
        KeyError: a colour is not one of `LIGHT`.
    """
    out = io.StringIO()
    with (
        mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "image.composite_image": False}),
        ignore_missing_glyphs(),
    ):
        figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    drawn = ET.fromstring(out.getvalue())
    root = svg_root(drawn.attrib["viewBox"], alt)
    root.extend([cleaned for child in drawn for cleaned in _cleaned(child)])
    return ET.tostring(root, encoding="unicode")


def svg_root(view_box: str, alt: str) -> ET.Element:
    """Return an empty `<svg>` element as wide as its container."""
    return ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": view_box,
            "width": "100%",
            "role": "img",
            "aria-label": visible_text(alt, _LONGEST),
        },
    )


def themed(color: str) -> str:
    """Return the CSS variable of a colour of `LIGHT`, with that colour as the fallback."""
    return _VARIABLES[color]


def unit_figure(height: float, *, auto_layout: bool) -> Figure:
    """Return an empty figure of `WIDTH` by `height` units; `auto_layout` fits its axes to their labels."""
    layout = ConstrainedLayoutEngine() if auto_layout else None
    return Figure(figsize=(WIDTH / _POINTS, height / _POINTS), dpi=_POINTS, layout=layout)


def unit_axes(figure: Figure) -> Axes:
    """Return axes over the complete figure in its units, from (0, 0) at the upper left to (`WIDTH`, its height)."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(_POINTS * figure.get_figheight(), 0))
    axes.set_axis_off()
    return axes


def style_axes(axes: Axes) -> None:
    """Reduce the axes to two spines, small ticks and labels in the page's colours."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(FAINT)
    axes.tick_params(which="both", color=FAINT, labelcolor=MUTED, labelsize=SMALL, length=3, width=0.8)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=FONT)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)


def draw_text(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    shift: tuple[float, float] = (0, 0),
    *,
    coords: Any = "data",
    color: str = INK,
    size: float = SMALL,
    **options: Any,
) -> None:
    """Draw text `shift` units right of and above a position, literally: it is never parsed as mathematics.

    Args:
        coords: coordinate system of `at`, as in `Axes.annotate`.
        options: further properties of the text.
    """
    options = {"va": "center", **options}
    axes.annotate(
        visible_text(text, _LONGEST),
        at,
        shift,
        coords,
        "offset points",
        color=color,
        fontsize=size,
        parse_math=False,
        annotation_clip=False,
        **options,
    )


def _cleaned(element: ET.Element) -> Iterator[ET.Element]:
    """Yield the element without style sheets, which would apply to the complete page, and without empty groups."""
    tag = element.tag.rpartition("}")[2]
    children = [cleaned for child in element for cleaned in _cleaned(child)]
    attributes = _attributes(tag, element)
    if tag == "style" or (tag in {"g", "defs"} and not children):
        return
    if tag == "g" and not attributes:
        yield from children
        return
    cleaned = ET.Element(tag, attributes)
    cleaned.text = element.text if tag == "text" else None
    cleaned.extend(children)
    yield cleaned


def _attributes(tag: str, element: ET.Element) -> dict[str, str]:
    """Return attributes and `style` declarations, with themed colours, rounded numbers and only ids that are used."""
    style = element.get("style", "")
    attributes = (
        dict(re.findall(r"([\w-]+):\s*([^;]+)", style)) | (_font(style) if tag == "text" else {}) | element.attrib
    )
    if href := attributes.get(_HREF):
        attributes["href"] = href.replace("\n", "")
    unused = set() if tag in {"path", "clipPath"} else {"id"}
    kept = {key: value for key, value in attributes.items() if key not in _DROPPED | unused}
    if kept.get("transform", "").startswith("rotate(-0"):
        del kept["transform"]
    for key in kept.keys() & {"fill", "stroke"}:
        kept[key] = kept[key] if kept[key] == "none" else themed(kept[key])
    return {key: _rounded(value) if key in _ROUNDED else value for key, value in kept.items()}


def _font(style: str) -> dict[str, str]:
    """Return size and weight of the font. Depending on its version, matplotlib writes them together or separately."""
    sizes, weights = re.findall(r"([\d.]+)px", style), re.findall(r"\b[5-9]00\b", style)
    return {"font-size": sizes[0]} | ({"font-weight": weights[0]} if weights else {})


def _rounded(value: str) -> str:
    numbers = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
    return " ".join(numbers.split())
