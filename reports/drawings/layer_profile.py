"""The small figure on a card: the activation of each site in network order. It is written directly to be small."""

from collections.abc import Sequence
from math import isfinite
from xml.etree import ElementTree as ET

from flashbulb.reports.drawings.svg import SMALL, svg_root, themed
from flashbulb.reports.figures.drawing import FAINT, INK, LEAK, MUTED
from flashbulb.reports.views.site_names import short_site, sites_by_kind
from flashbulb.reports.views.text import fitted_text

_WIDTH, _HEIGHT, _FLOOR, _AXIS = 380.0, 64.0, 50.0, 30.0
_BETWEEN, _WIDEST = 10.0, 30.0


def layer_profile(
    values: Sequence[float], unflagged: Sequence[float] | None, sites: Sequence[str], *, measure: str, top: float
) -> str:
    """Draw one prompt's value at every site as SVG bars, with the outline of unflagged prompts over them.

    Args:
        values: [site]; a NaN has no bar.
        unflagged: [site], such as the median of the controls; None if there are none.
        sites: module paths. They are grouped by kind and put in network order here.
        measure: what the values are.
        top: value of a full bar, the same on all cards of a page. Higher values are cut off there.

    Raises:
        ValueError: the numbers of values and sites differ, there is no site, or `top` is not a positive number.
    """
    if not sites or not len(values) == len(sites) == len(sites if unflagged is None else unflagged):
        raise ValueError(f"{len(values)} values for {len(sites)} sites; a profile needs one for each, and one at least")
    if not (isfinite(top) and top > 0):
        raise ValueError(f"a full bar must be a value above 0, not {top}")
    groups = sites_by_kind(sites)
    pitch = min(_WIDEST, (_WIDTH - _AXIS - _BETWEEN * (len(groups) - 1)) / len(sites))
    root = svg_root(f"0 0 {_WIDTH:g} {_HEIGHT:g}", f"{measure}, by site: {_highest(values, sites)}.")
    bars = ET.SubElement(root, "g", {"fill": themed(LEAK)})
    labels = ET.Element("g", {"fill": themed(MUTED), "font-size": f"{SMALL:g}", "text-anchor": "middle"})
    outline, floor, left = [], [], _AXIS
    for group in groups:
        right = left + pitch * len(group.positions)
        for column, position in enumerate(group.positions):
            x = left + pitch * column
            if isfinite(values[position]):
                bar = ET.SubElement(bars, "rect", _box(x, pitch, _height(values[position], top)))
                ET.SubElement(bar, "title").text = _value_text(sites[position], values[position], ": ")
            if unflagged is not None and isfinite(unflagged[position]):
                y = _FLOOR - _height(unflagged[position], top)
                outline.append(f"M{x:.4g} {y:.3g}h{pitch:.3g}")
        floor.append(f"M{left:.4g} {_FLOOR:g}H{right:.4g}")
        ET.SubElement(labels, "text", {"x": f"{(left + right) / 2:.4g}", "y": f"{_HEIGHT - 4:g}"}).text = group.short
        left = right + _BETWEEN
    ET.SubElement(root, "path", {"d": "".join(floor), "stroke": themed(FAINT)})
    if outline:
        ET.SubElement(root, "path", {"d": "".join(outline), "stroke": themed(INK)})
    root.append(_axis(top))
    root.append(labels)
    return ET.tostring(root, encoding="unicode")


def _height(value: float, top: float) -> float:
    return (_FLOOR - 4) * min(max(value / top, 0.0), 1.0)


def _box(x: float, pitch: float, height: float) -> dict[str, str]:
    width = max(pitch - 1, 0.7 * pitch)
    return {"x": f"{x:.4g}", "y": f"{_FLOOR - height:.3g}", "width": f"{width:.3g}", "height": f"{height:.3g}"}


def _value_text(site: str, value: float, between: str) -> str:
    return f"{fitted_text(short_site(site), 30)}{between}{value:.3g}"


def _highest(values: Sequence[float], sites: Sequence[str]) -> str:
    """Name the three sites with the highest values."""
    ranked = sorted((p for p in range(len(sites)) if isfinite(values[p])), key=lambda p: -values[p])
    return ", ".join(_value_text(sites[p], values[p], " ") for p in ranked[:3]) or "nothing"


def _axis(top: float) -> ET.Element:
    """Draw the axis of the values: its line, and numbers at the floor and at a full bar."""
    axis = ET.Element("g", {"fill": themed(MUTED), "font-size": f"{SMALL:g}", "text-anchor": "end"})
    x = _AXIS - 4
    for value, y in ((top, _FLOOR - _height(top, top)), (0.0, _FLOOR)):
        ET.SubElement(axis, "path", {"d": f"M{x:g} {y:g}h4", "stroke": themed(FAINT)})
        ET.SubElement(axis, "text", {"x": f"{x - 2:g}", "y": f"{y + SMALL / 3:.3g}"}).text = f"{value:.3g}"
    ET.SubElement(axis, "path", {"d": f"M{_AXIS:g} {_FLOOR - _height(top, top):g}V{_FLOOR:g}", "stroke": themed(FAINT)})
    return axis
