"""Figures as SVG in a page: words in the page's font, colours that its stylesheet can change, nothing that runs."""

import io
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from reports.drawing import FAINT, INK, LIGHT, MUTED, quiet_about_glyphs
from reports.text import visible_text

WIDTH = 380.0
"""Of every figure, in its own units: words of 10 units are 9 px on a phone of 340, and 15 px at the 560 advised."""
FONT = 10.0
SMALL = 9.0
_POINTS = 72
_LONGEST = 300

_VARIABLES = {color: f"var(--{name}, {color})" for name, color in LIGHT.items()}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_ROUNDED = {"d", "x", "y", "width", "height"}
_HREF = "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"style", "font-family", "font", _HREF}


def svg_text(figure: Figure, *, name: str, alt: str) -> str:
    """Draw a figure as an `<svg>` element that takes the width it is given; the same figure gives the same bytes.

    Every colour is one of `LIGHT` and can be redefined as the CSS variable of its name. No `style` element or
    attribute is used, and no font is named.

    Args:
        name: of the figure in its page; keeps the ids of two figures apart.
        alt: what the picture shows, for those who do not see it.
    """
    out = io.StringIO()
    with (
        mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "image.composite_image": False}),
        quiet_about_glyphs(),
    ):
        figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    drawn = ET.fromstring(out.getvalue())
    root = svg_root(drawn.attrib["viewBox"], alt)
    root.extend([plain for child in drawn for plain in _plain(child)])
    return ET.tostring(root, encoding="unicode")


def svg_root(view_box: str, alt: str) -> ET.Element:
    """An empty picture as wide as its place in the page."""
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
    """Return the CSS variable of a colour of ours, with the light colour where the page defines none."""
    return _VARIABLES[color]


def unit_figure(height: float, *, arranged: bool) -> Figure:
    """An empty figure of `WIDTH` by `height` units; `arranged` lets its axes arrange themselves."""
    layout = ConstrainedLayoutEngine() if arranged else None
    return Figure(figsize=(WIDTH / _POINTS, height / _POINTS), dpi=_POINTS, layout=layout)


def unit_axes(figure: Figure) -> Axes:
    """The whole figure to draw on in its own units, from the upper left corner (0, 0) to (`WIDTH`, its height)."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(_POINTS * figure.get_figheight(), 0))
    axes.set_axis_off()
    return axes


def style_axes(axes: Axes) -> None:
    """Leave of the axes what is read: two spines, small ticks, words in our colours."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(FAINT)
    axes.tick_params(which="both", color=FAINT, labelcolor=MUTED, labelsize=SMALL, length=3, width=0.8)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=FONT)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)


def write(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    shift: tuple[float, float] = (0, 0),
    *,
    coords: Any = "data",
    color: str = INK,
    size: float = SMALL,
    **looks: Any,
) -> None:
    """Write words `shift` units right of and above a place; they are shown as they are, never read as mathematics."""
    looks = {"va": "center", **looks}
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
        **looks,
    )


def _plain(element: ET.Element) -> Iterator[ET.Element]:
    """The element as we write it: without a style sheet, which would hold for the whole page, and empty groups."""
    tag = element.tag.rpartition("}")[2]
    children = [plain for child in element for plain in _plain(child)]
    attributes = _attributes(tag, element)
    if tag == "style" or (tag in {"g", "defs"} and not children):
        return
    if tag == "g" and not attributes:
        yield from children
        return
    plain = ET.Element(tag, attributes)
    plain.text = element.text if tag == "text" else None
    plain.extend(children)
    yield plain


def _attributes(tag: str, element: ET.Element) -> dict[str, str]:
    """Attributes, declarations of `style` among them, with our colours, short numbers and only ids that are used."""
    style = element.get("style", "")
    found = dict(re.findall(r"([\w-]+):\s*([^;]+)", style)) | (_font(style) if tag == "text" else {}) | element.attrib
    if href := found.get(_HREF):
        found["href"] = href.replace("\n", "")
    unused = set() if tag in {"path", "clipPath"} else {"id"}
    kept = {key: value for key, value in found.items() if key not in _DROPPED | unused}
    if kept.get("transform", "").startswith("rotate(-0"):
        del kept["transform"]
    for key in kept.keys() & {"fill", "stroke"}:
        kept[key] = kept[key] if kept[key] == "none" else themed(kept[key])
    return {key: _rounded(value) if key in _ROUNDED else value for key, value in kept.items()}


def _font(style: str) -> dict[str, str]:
    """Size and weight, which matplotlib states as `font` or apart, by its version."""
    sizes, weights = re.findall(r"([\d.]+)px", style), re.findall(r"\b[5-9]00\b", style)
    return {"font-size": sizes[0]} | ({"font-weight": weights[0]} if weights else {})


def _rounded(value: str) -> str:
    numbers = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
    return " ".join(numbers.split())
