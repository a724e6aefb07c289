"""The figure of where prompts spike: a row a prompt, a column a site, grouped by kind of site."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from reports.drawing import FAINT, INK, LEAK, MUTED
from reports.rates import counted
from reports.site_names import SiteGroup, distinct_names, sites_by_kind
from reports.svg import FONT, WIDTH, svg_text, unit_axes, unit_figure, write
from reports.text import fitted_text

MAX_ROWS = 40
MAX_CONTROLS = 10
MAX_NAMED_SITES = 34
"""Columns up to which each site is named; of more only their kinds are."""
HEAT = (0xE0, 0x55, 0x1B)
"""Of the hottest cells; they are part of a picture, so one colour has to serve light and dark pages."""

_MISSING = (0x80, 0x80, 0x80, 0x48)
_MARGIN, _LEFT, _RIGHT = 4.0, 128.0, WIDTH - 4.0  # in the figure's units, like all that follows
_HEAD, _TITLE, _ROW, _BETWEEN = 38.0, 17.0, 11.0, 9.0
_KINDS, _NAMES = 14.0, 46.0
_LABEL_CELLS = 22
_NAME_CELLS = 11

Values = npt.NDArray[np.float64]  # [prompt, site]


@dataclass(frozen=True, slots=True)
class HeatmapRow:
    """One prompt and its value at every site, in the order of the sites; NaN where a site was not recorded."""

    label: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values from `calm`, drawn as nothing, to `top`, drawn as the hottest."""

    calm: float
    top: float

    def rgba(self, values: Values) -> npt.NDArray[np.uint8]:
        """Pixels [prompt, site, 4]: one colour, the value as its opacity; grey where the value is NaN."""
        heat = np.clip((np.nan_to_num(values) - self.calm) / (self.top - self.calm), 0, 1)
        pixels = np.empty((*values.shape, 4), dtype=np.uint8)
        pixels[..., :3] = HEAT
        pixels[..., 3] = np.round(255 * heat)
        pixels[np.isnan(values)] = _MISSING
        return pixels


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows that stand together under a title."""

    title: str
    color: str
    labels: tuple[str, ...]
    values: Values


def spike_heatmap(
    flagged: Sequence[HeatmapRow], controls: Sequence[HeatmapRow], sites: Sequence[str], *, measure: str, calm: float
) -> str:
    """Draw prompts by sites as SVG with an embedded picture: the first 40 flagged prompts, below them 10 controls.

    Args:
        flagged: worst first.
        controls: unflagged prompts; may be empty, like `flagged`, but not both.
        sites: module paths of the columns; they are grouped by kind and put in network order here.
        measure: what the values are, such as "share of a site's neurons with |z| > 4".
        calm: the value of an ordinary prompt, drawn as nothing; the hottest colour is the 99th percentile of all cells.
    """
    groups = sites_by_kind(sites)
    columns = [position for group in groups for position in group.positions]
    blocks = [
        _block(rows, columns, limit, word, color)
        for rows, limit, word, color in (
            (flagged, MAX_ROWS, "flagged", LEAK),
            (controls, MAX_CONTROLS, "not flagged", INK),
        )
        if rows
    ]
    if not blocks or not columns:
        raise ValueError("no prompt or no site to draw; an audit without them has no heatmap")
    values = np.concatenate([block.values for block in blocks])
    scale = _scale(values, calm)
    are_named = len(sites) <= MAX_NAMED_SITES
    foot = _KINDS + (_NAMES if are_named else 0)
    figure = unit_figure(_HEAD + len(blocks) * (_TITLE + _BETWEEN) + len(values) * _ROW + foot, arranged=False)
    axes = unit_axes(figure)
    _draw_scale(axes, scale, measure, has_missing=bool(np.isnan(values).any()))
    y = _HEAD
    for block in blocks:
        _draw_block(axes, block, scale, groups, y)
        y += _TITLE + len(block.labels) * _ROW + _BETWEEN
    _name_columns(axes, groups, [sites[column] for column in columns] if are_named else (), y - _BETWEEN)
    size = f"{counted(len(values), 'prompt')} by {counted(len(sites), 'site')}"
    alt = f"{measure}: {size}, from {scale.calm:.3g} to {scale.top:.3g}."
    return svg_text(figure, name="spike-heatmap", alt=alt)


def _block(rows: Sequence[HeatmapRow], columns: Sequence[int], limit: int, word: str, color: str) -> _Block:
    title = f"{len(rows):,} {word}" + (f", the first {limit}" if len(rows) > limit else "")
    shown = rows[:limit]
    values = np.asarray([row.values for row in shown], dtype=np.float64)
    if values.shape != (len(shown), len(columns)):
        raise ValueError(f"rows of {len(columns)} sites need {len(columns)} values each")
    return _Block(title, color, tuple(fitted_text(row.label, _LABEL_CELLS) for row in shown), values[:, columns])


def _scale(values: Values, calm: float) -> _Scale:
    finite = values[np.isfinite(values)]
    top = float(np.quantile(finite, 0.99)) if len(finite) else calm
    if top <= calm:  # where few cells are hot
        top = float(finite.max(initial=calm))
    return _Scale(calm, top if top > calm else calm + 1)


def _draw_scale(axes: Axes, scale: _Scale, measure: str, *, has_missing: bool) -> None:
    write(axes, measure, (_MARGIN, 9), size=FONT)
    left, right, y = _LEFT, _LEFT + 90, 25.0
    steps = np.linspace(scale.calm, scale.top, 64)[None]
    _draw_pixels(axes, scale.rgba(steps), left, right, y - 4, y + 4)
    write(axes, f"{scale.calm:.2g}", (left - 4, y), color=MUTED, ha="right")
    write(axes, f"≥ {scale.top:.2g}", (right + 4, y), color=MUTED)
    if has_missing:
        write(axes, "grey: not recorded", (_RIGHT, y), color=MUTED, ha="right")


def _draw_block(axes: Axes, block: _Block, scale: _Scale, groups: Sequence[SiteGroup], y: float) -> None:
    top = y + _TITLE
    bottom = top + len(block.labels) * _ROW
    write(axes, block.title, (_MARGIN, y + 9), color=block.color, size=FONT, weight="bold")
    _draw_pixels(axes, scale.rgba(block.values), _LEFT, _RIGHT, top, bottom)
    for edge in _edges(groups)[1:-1]:
        axes.plot([edge, edge], [top, bottom], color=FAINT, linewidth=0.8)
    for row, label in enumerate(block.labels):
        write(axes, label, (_MARGIN, top + (row + 0.5) * _ROW))


def _draw_pixels(
    axes: Axes, pixels: npt.NDArray[np.uint8], left: float, right: float, top: float, bottom: float
) -> None:
    limits = axes.axis()
    axes.imshow(pixels, aspect="auto", interpolation="none", extent=(left, right, bottom, top))
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=FAINT, linewidth=0.8))
    axes.axis(limits)


def _edges(groups: Sequence[SiteGroup]) -> list[float]:
    """Where kinds of site begin, and where the last one ends."""
    sizes = [0, *(len(group.positions) for group in groups)]
    return [float(edge) for edge in _LEFT + (_RIGHT - _LEFT) * np.cumsum(sizes) / sum(sizes)]


def _name_columns(axes: Axes, groups: Sequence[SiteGroup], sites: Sequence[str], y: float) -> None:
    edges = _edges(groups)
    for group, left, right in zip(groups, edges, edges[1:], strict=False):
        write(axes, group.short, ((left + right) / 2, y + 8), color=MUTED, ha="center")
    start = 0
    pitch = (_RIGHT - _LEFT) / max(1, len(sites))
    for group in groups if sites else ():
        end = start + len(group.positions)
        for column, name in enumerate(distinct_names(sites[start:end]), start):
            at = (_LEFT + (column + 0.5) * pitch, y + _KINDS + 2)
            write(axes, fitted_text(name, _NAME_CELLS), at, color=MUTED, size=7.5, rotation=90, ha="center", va="top")
        start = end
