"""Figures of an evaluation: ROC curves on a logarithmic axis, and the scores of each detector by label."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FixedLocator, NullLocator

from flashbulb.reports.bounds.rates import percent
from flashbulb.reports.figures.drawing import CALM, CURVES, FAINT, GRID, INK, LEAK, MUTED, empty_figure, save_png
from flashbulb.reports.views.text import visible_text

N_NAMED = 6
MAX_PANELS = 24

_MARKED_FPRS = (0.001, 0.01)
_LEGEND_FPR = 0.01
_LOWEST_FPR = 5e-4  # the axis starts here or lower, so 0.1 % is never at its edge
_N_COLUMNS = 4
_N_BINS = 40
_LOWEST_TOP = 15  # prompts, so the axis has more than one tick


@dataclass(frozen=True, slots=True)
class RocCurve:
    """The rates of one detector at every threshold, from the strictest (0, 0) to the laxest (1, 1)."""

    name: str
    fpr: Sequence[float]
    tpr: Sequence[float]


@dataclass(frozen=True, slots=True)
class ScorePanel:
    """The scores of one detector by label; `threshold` is the lowest with an FPR of at most 1 %."""

    name: str
    positives: Sequence[float]
    negatives: Sequence[float]
    threshold: float | None


def roc_figure(curves: Sequence[RocCurve], path: Path) -> None:
    """Draw ROC curves over a logarithmic FPR axis as a PNG; the first six are named, the others grey.

    Between two thresholds the lower TPR is drawn, so "TPR at FPR ≤ x" read off the figure is never too high. A curve is
    flat up to its first false positive.

    Args:
        curves: best first.

    Raises:
        ValueError: there is no curve.
    """
    if not curves:
        raise ValueError(f"no curve to draw on {path.name}; evaluate at least one detector")
    figure = empty_figure(8.2, 4.2)
    axes = figure.add_subplot()
    start = min(_LOWEST_FPR, *(0.5 * min(x for x in curve.fpr if x > 0) for curve in curves))
    for curve in curves[N_NAMED:]:
        axes.step(*_on_log_axis(curve, start), where="post", color=FAINT, linewidth=0.9)
    drawn: list[tuple[list[float], list[float]]] = []
    for rank, (curve, color) in enumerate(zip(curves[:N_NAMED], CURVES, strict=False)):
        points = _on_log_axis(curve, start)
        tpr = max(y for x, y in zip(*points, strict=True) if x <= _LEGEND_FPR)
        label = f"{tpr:.3f}  {visible_text(curve.name, 40)}"
        (line,) = axes.step(*points, where="post", color=color, linewidth=1.7, zorder=9 - rank, label=label)
        if points in drawn:  # dashes over an equal curve show both
            line.set(linestyle=(0, (4, 4)), zorder=10 + rank)
        drawn.append(points)
    if n_others := len(curves[N_NAMED:]):
        axes.plot([], [], color=FAINT, linewidth=0.9, label=f"{n_others} more")
    diagonal = [start ** (step / 100) for step in range(101)]
    axes.plot(diagonal, diagonal, color=MUTED, linewidth=0.9, linestyle=":", label="chance")
    _style_roc(axes, start)
    save_png(figure, path)


def _on_log_axis(curve: RocCurve, start: float) -> tuple[list[float], list[float]]:
    """Start the curve at the edge of the axis with the TPR that has no false positive."""
    points = list(zip(curve.fpr, curve.tpr, strict=True))
    first = max(y for x, y in points if x == 0)
    beyond = [(x, y) for x, y in points if x > 0]
    return [start, *(x for x, _ in beyond)], [first, *(y for _, y in beyond)]


def score_distributions(panels: Sequence[ScorePanel], path: Path) -> None:
    """Draw histograms of positives and negatives for each of the first 24 detectors as one PNG.

    Scores that are not finite are not drawn.

    Raises:
        ValueError: there are no scores.
    """
    if not panels:
        raise ValueError(f"no scores to draw on {path.name}; evaluate at least one detector")
    shown = panels[:MAX_PANELS]
    n_columns = min(_N_COLUMNS, len(shown))
    n_rows = ceil(len(shown) / n_columns)
    figure = empty_figure(max(5.0, 2.7 * n_columns), 2.0 * n_rows + 0.6)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
    for axes, panel in zip(grid, shown, strict=False):
        _draw_panel(axes, panel)
    grid[0].set_ylim(0, max(grid[0].get_ylim()[1], _LOWEST_TOP))  # of all panels, which share the axis
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    for row in range(n_rows):
        grid[row * n_columns].set_ylabel("prompts", color=MUTED, fontsize=7.5)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    save_png(figure, path)


def _style_roc(axes: Axes, start: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(start, 1)
    axes.set_ylim(0, 1.02)
    ticks = [tick for tick in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0) if tick >= start]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticklabels([percent(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for fpr in _MARKED_FPRS:
        axes.axvline(fpr, color=MUTED, linestyle="--", linewidth=0.9, zorder=1)
    axes.set_xlabel("false-positive rate (logarithmic)")
    axes.set_ylabel("true-positive rate")
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0)
    legend.set_title(f"TPR at FPR ≤ {percent(_LEGEND_FPR)}", FontProperties(size=8, weight="bold"))
    legend.set_alignment("left")
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_panel(axes: Axes, panel: ScorePanel) -> None:
    groups = [[score for score in scores if isfinite(score)] for scores in (panel.negatives, panel.positives)]
    scores = [*groups[0], *groups[1]] or [0.0]
    low, high = min(scores), max(scores)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = [low + (high - low) * step / _N_BINS for step in range(_N_BINS + 1)]
    for group, name, color in zip(groups, ("not memorized", "memorized"), (CALM, LEAK), strict=True):
        axes.hist(group, bins=edges, label=name, color=color, alpha=0.6, histtype="stepfilled")
    if panel.threshold is not None and isfinite(panel.threshold):
        axes.axvline(
            panel.threshold,
            color=INK,
            linestyle="--",
            linewidth=1,
            label=f"threshold for FPR ≤ {percent(_LEGEND_FPR)}",
        )
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.set_title(visible_text(panel.name, 32), color=INK, fontsize=8, loc="left", parse_math=False)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
