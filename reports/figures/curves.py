"""How fast searches find memorized images: one step curve over denoiser evaluations for each method."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from flashbulb.reports.figures.drawing import CURVES, GRID, INK, MUTED, empty_figure, save_png
from flashbulb.reports.views.text import visible_text

_LINES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))  # for more methods than colours
_LEADER = {"arrowstyle": "-", "linewidth": 0.6, "alpha": 0.5, "shrinkA": 2, "shrinkB": 3, "relpos": (0, 0.5)}
_LABEL_GAP = 0.062  # between labels, as a share of the axis' height


def discovery_curves(curves: Mapping[str, Sequence[tuple[int, int]]], total: int | None, path: Path) -> None:
    """Draw distinct memorized images over UE as a PNG, each method named at the end of its line.

    Args:
        curves: for each method, points (UE spent, distinct images found), neither of which may decrease. A line starts
            at (0, 0) and ends at its last point, which should be the total UE even if nothing was found there.
        total: number of images that can be found, drawn as a dashed line; None if unknown.

    Raises:
        ValueError: there is no curve, or a curve decreases.
    """
    if not curves:
        raise ValueError(f"no curve to draw on {path.name}; give at least one method")
    lines = {name: [(0, 0), *points] for name, points in curves.items()}
    for name, points in lines.items():
        if any(after[0] < before[0] or after[1] < before[1] for before, after in pairwise(points)):
            raise ValueError(f"the curve of {visible_text(name, 40)} decreases; give its points in the order found")
    figure = empty_figure(7.4, 3.8)
    axes = figure.add_subplot()
    last_ue = max(points[-1][0] for points in lines.values()) or 1
    top = max(1, total or 0, *(points[-1][1] for points in lines.values()))
    for rank, points in enumerate(lines.values()):
        ue, found = zip(*points, strict=True)
        color, line = CURVES[rank % len(CURVES)], _LINES[rank // len(CURVES) % len(_LINES)]
        axes.step(
            ue, found, where="post", color=color, linewidth=1.9, linestyle=line, zorder=9 - rank / 100, clip_on=False
        )
        axes.plot(ue[-1], found[-1], "o", color=color, markersize=4, zorder=9, clip_on=False)
    _style(axes, last_ue, top)
    _label_total(axes, total)
    _label_lines(axes, {name: points[-1] for name, points in lines.items()}, last_ue)
    save_png(figure, path)


def _style(axes: Axes, last_ue: int, top: int) -> None:
    axes.set_xlim(0, last_ue)
    axes.set_ylim(0, 1.1 * top)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, color=MUTED)
    axes.set_xlabel("denoiser evaluations", color=INK, fontsize=9)
    axes.set_ylabel("distinct memorized images", color=INK, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _label_total(axes: Axes, total: int | None) -> None:
    if total is None:
        return
    axes.axhline(total, color=MUTED, linestyle="--", linewidth=1, zorder=3)
    axes.annotate(
        f"all {total}", (0, total), (4, 3), textcoords="offset points", color=MUTED, fontsize=8, va="bottom", zorder=6
    )


def _label_lines(axes: Axes, ends: Mapping[str, tuple[int, int]], last_ue: int) -> None:
    """Write `count  name` right of the axes at the height of each line, moved apart where lines end close together."""
    height = axes.get_ylim()[1]
    order = sorted(range(len(ends)), key=lambda rank: list(ends.values())[rank][1])
    names = list(ends)
    label_heights = _spread([ends[names[rank]][1] / height for rank in order])
    for rank, label_height in zip(order, label_heights, strict=True):
        ue, found = ends[names[rank]]
        color = CURVES[rank % len(CURVES)]
        axes.annotate(
            f"{found}  {visible_text(names[rank], 40)}",
            (ue / last_ue, found / height),
            (1.03, label_height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=color,
            fontsize=8.5,
            va="center",
            parse_math=False,
            annotation_clip=False,
            arrowprops={**_LEADER, "color": color},
        )


def _spread(heights: Sequence[float]) -> list[float]:
    """Move ascending label heights up where they would overlap, then all down if they leave the axes."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + _LABEL_GAP) if placed else height)
    excess = max(0.0, placed[-1] - 1.0)
    return [height - excess for height in placed]
