"""The heatmap of where prompts spike: one row per prompt, one column per site, grouped by kind of site."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.drawings.svg import FONT, WIDTH, draw_text, svg_text, unit_axes, unit_figure
from flashbulb.reports.figures.drawing import FAINT, INK, LEAK, MUTED
from flashbulb.reports.views.site_names import SiteGroup, distinct_names, sites_by_kind
from flashbulb.reports.views.text import fitted_text

MAX_ROWS = 40
MAX_CONTROLS = 10
MAX_NAMED_SITES = 34
"""Up to this many columns each site is named. With more, only the kinds of site are."""
HEAT = (0xE0, 0x55, 0x1B)
"""Colour of the hottest cells. Cells are pixels of an embedded image, so the colour must suit light and dark pages."""

_MISSING = (0x80, 0x80, 0x80, 0x48)
_MARGIN, _LEFT, _RIGHT = 4.0, 128.0, WIDTH - 4.0  # all in the figure's units, to the last line
_HEAD, _TITLE, _ROW, _BETWEEN = 38.0, 17.0, 11.0, 9.0
_KINDS, _NAMES = 14.0, 46.0
_LABEL_CELLS = 22
_NAME_CELLS = 11

Values = npt.NDArray[np.float64]  # [prompt, site]


@dataclass(frozen=True, slots=True)
class HeatmapRow:
    """One prompt and its value at every site, in the order of the sites; NaN if a site was not recorded."""

    label: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values from `floor`, drawn as transparent, to `top`, drawn as the hottest."""

    floor: float
    top: float

    def rgba(self, values: Values) -> npt.NDArray[np.uint8]:
        """Return pixels [prompt, site, 4] of one colour with the value as opacity; NaN is grey."""
        heat = np.clip((np.nan_to_num(values) - self.floor) / (self.top - self.floor), 0, 1)
        pixels = np.empty((*values.shape, 4), dtype=np.uint8)
        pixels[..., :3] = HEAT
        pixels[..., 3] = np.round(255 * heat)
        pixels[np.isnan(values)] = _MISSING
        return pixels


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows drawn together under a title."""

    title: str
    color: str
    labels: tuple[str, ...]
    values: Values


def spike_heatmap(
    flagged: Sequence[HeatmapRow], controls: Sequence[HeatmapRow], sites: Sequence[str], *, measure: str, floor: float
) -> str:
    """Draw prompts by sites as SVG with an embedded image: the first 40 flagged prompts, below them 10 controls.

    Args:
        flagged: worst first.
        controls: unflagged prompts; either set may be empty, but not both.
        sites: module paths of the columns. They are grouped by kind and put in network order here.
        measure: what the values are, such as "share of a site's neurons with |z| > 4".
        floor: value drawn as transparent, typical of a prompt that is not memorized. The hottest colour is the 99th
            percentile of all cells.

    Raises:
        ValueError: there is no prompt or no site, or a row has another number of values than there are sites.
    """
    groups = sites_by_kind(sites)
    columns = [position for group in groups for position in group.positions]
    blocks = [
        _block(rows, columns, limit, name, color)
        for rows, limit, name, color in (
            (flagged, MAX_ROWS, "flagged", LEAK),
            (controls, MAX_CONTROLS, "not flagged", INK),
        )
        if rows
    ]
    if not blocks or not columns:
        raise ValueError("no prompt or no site to draw; an audit without them has no heatmap")
    values = np.concatenate([block.values for block in blocks])
    scale = _scale(values, floor)
    are_named = len(sites) <= MAX_NAMED_SITES
    foot = _KINDS + (_NAMES if are_named else 0)
    figure = unit_figure(_HEAD + len(blocks) * (_TITLE + _BETWEEN) + len(values) * _ROW + foot, auto_layout=False)
    axes = unit_axes(figure)
    _draw_scale(axes, scale, measure, has_missing=bool(np.isnan(values).any()))
    y = _HEAD
    for block in blocks:
        _draw_block(axes, block, scale, groups, y)
        y += _TITLE + len(block.labels) * _ROW + _BETWEEN
    _name_columns(axes, groups, [sites[column] for column in columns] if are_named else (), y - _BETWEEN)
    size = f"{count_text(len(values), 'prompt')} by {count_text(len(sites), 'site')}"
    alt = f"{measure}: {size}, from {scale.floor:.3g} to {scale.top:.3g}."
    return svg_text(figure, name="spike-heatmap", alt=alt)


def _block(rows: Sequence[HeatmapRow], columns: Sequence[int], limit: int, name: str, color: str) -> _Block:
    title = f"{len(rows):,} {name}" + (f", the first {limit}" if len(rows) > limit else "")
    shown = rows[:limit]
    values = np.asarray([row.values for row in shown], dtype=np.float64)
    if values.shape != (len(shown), len(columns)):
        raise ValueError(f"rows of {len(columns)} sites need {len(columns)} values each")
    return _Block(title, color, tuple(fitted_text(row.label, _LABEL_CELLS) for row in shown), values[:, columns])


def _scale(values: Values, floor: float) -> _Scale:
    finite = values[np.isfinite(values)]
    top = float(np.quantile(finite, 0.99)) if len(finite) else floor
    if top <= floor:  # less than 1 % of the cells are above the floor
        top = float(finite.max(initial=floor))
    return _Scale(floor, top if top > floor else floor + 1)


def _draw_scale(axes: Axes, scale: _Scale, measure: str, *, has_missing: bool) -> None:
    draw_text(axes, measure, (_MARGIN, 9), size=FONT)
    left, right, y = _LEFT, _LEFT + 90, 25.0
    steps = np.linspace(scale.floor, scale.top, 64)[None]
    _draw_pixels(axes, scale.rgba(steps), left, right, y - 4, y + 4)
    draw_text(axes, f"{scale.floor:.2g}", (left - 4, y), color=MUTED, ha="right")
    draw_text(axes, f"≥ {scale.top:.2g}", (right + 4, y), color=MUTED)
    if has_missing:
        draw_text(axes, "grey: not recorded", (_RIGHT, y), color=MUTED, ha="right")


def _draw_block(axes: Axes, block: _Block, scale: _Scale, groups: Sequence[SiteGroup], y: float) -> None:
    top = y + _TITLE
    bottom = top + len(block.labels) * _ROW
    draw_text(axes, block.title, (_MARGIN, y + 9), color=block.color, size=FONT, weight="bold")
    _draw_pixels(axes, scale.rgba(block.values), _LEFT, _RIGHT, top, bottom)
    for edge in _edges(groups)[1:-1]:
        axes.plot([edge, edge], [top, bottom], color=FAINT, linewidth=0.8)
    for row, label in enumerate(block.labels):
        draw_text(axes, label, (_MARGIN, top + (row + 0.5) * _ROW))


def _draw_pixels(
    axes: Axes, pixels: npt.NDArray[np.uint8], left: float, right: float, top: float, bottom: float
) -> None:
    limits = axes.axis()
    axes.imshow(pixels, aspect="auto", interpolation="none", extent=(left, right, bottom, top))
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=FAINT, linewidth=0.8))
    axes.axis(limits)


def _edges(groups: Sequence[SiteGroup]) -> list[float]:
    """Return where each kind of site begins, and where the last one ends."""
    sizes = [0, *(len(group.positions) for group in groups)]
    return [float(edge) for edge in _LEFT + (_RIGHT - _LEFT) * np.cumsum(sizes) / sum(sizes)]


def _name_columns(axes: Axes, groups: Sequence[SiteGroup], sites: Sequence[str], y: float) -> None:
    edges = _edges(groups)
    for group, left, right in zip(groups, edges, edges[1:], strict=False):
        draw_text(axes, group.short, ((left + right) / 2, y + 8), color=MUTED, ha="center")
    start = 0
    pitch = (_RIGHT - _LEFT) / max(1, len(sites))
    for group in groups if sites else ():
        end = start + len(group.positions)
        for column, name in enumerate(distinct_names(sites[start:end]), start):
            at = (_LEFT + (column + 0.5) * pitch, y + _KINDS + 2)
            draw_text(
                axes, fitted_text(name, _NAME_CELLS), at, color=MUTED, size=7.5, rotation=90, ha="center", va="top"
            )
        start = end
