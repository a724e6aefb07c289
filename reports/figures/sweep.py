"""The figure of a sweep: flagged share, spike-score excess and confirmed images over the steps of a training."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from flashbulb.reports.bounds.rates import percent
from flashbulb.reports.figures.drawing import CALM, DPI, FAINT, GRID, INK, LEAK, MUTED, OCHRE, save_png
from flashbulb.reports.tables.sweep import Sweep, SweepRow
from flashbulb.reports.views.text import visible_text

_WIDTH, _PANEL = 5.28, 1.75  # inches; the page shows the same figure on a phone
_SMALL, _FONT = 8.5, 9.5
_SPREAD_OUT = 4  # steps that end so far above their median are drawn on a logarithmic axis
_MAX_TICKS = 12
_LEAST_EXCESS = (-1, 4)  # the axis spans at least this, so the noise of clean prompts looks like noise
_DASHES = (0, (4, 3))


def sweep_figure(sweep: Sweep) -> Figure:
    """Draw the curves; the first checkpoint whose gate fails is marked in all of them.

    Raises:
        ValueError: there is no checkpoint.
    """
    if not sweep.rows:
        raise ValueError("a sweep without checkpoints has no curves")
    has_excess = any(row.top_excess is not None for row in sweep.rows)
    n_panels = 2 + has_excess
    figure = Figure(
        figsize=(_WIDTH, _PANEL * n_panels + 0.5), dpi=DPI, facecolor="white", layout=ConstrainedLayoutEngine()
    )
    share, *excess, confirmed = figure.subplots(n_panels, sharex=True)
    _draw_share(share, sweep)
    if has_excess:
        _draw_excess(excess[0], sweep.rows)
    _draw_confirmed(confirmed, sweep.rows)
    _style_steps(confirmed, sweep)
    for axes in figure.axes:
        _style(axes)
    _mark_first_failing(figure.axes, sweep)
    return figure


def write_sweep_figure(sweep: Sweep, path: Path) -> None:
    """Write the figure as a PNG."""
    save_png(sweep_figure(sweep), path)


def _draw_share(axes: Axes, sweep: Sweep) -> None:
    rows = sweep.rows
    steps, shares = [row.step for row in rows], [row.flagged_share for row in rows]
    axes.fill_between(
        steps,
        [row.flagged.low for row in rows],
        [row.flagged.high for row in rows],
        color=LEAK,
        alpha=0.15,
        linewidth=0,
    )
    axes.plot(steps, shares, "o-", color=LEAK, markersize=3.5, linewidth=1.6)
    axes.axhline(sweep.fpr, color=MUTED, linestyle=_DASHES, linewidth=0.9)
    axes.annotate(
        f"{percent(sweep.fpr)} by chance",
        (1, sweep.fpr),
        (0, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=MUTED,
        fontsize=_SMALL,
        ha="right",
        va="bottom",
    )
    axes.set_ylim(0, max(1.15 * max(row.flagged.high for row in rows), 1.5 * sweep.fpr))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: percent(share)))
    axes.set_title("prompts flagged, with 95 % intervals", loc="left", fontsize=_FONT, color=INK)


def _draw_excess(axes: Axes, rows: Sequence[SweepRow]) -> None:
    for name, color, label in (("top_excess", LEAK, "99th percentile"), ("median_excess", CALM, "median")):
        points = [(row.step, value) for row in rows if (value := getattr(row, name)) is not None]
        axes.plot(*zip(*points, strict=True), "o-", color=color, markersize=3.5, linewidth=1.6, label=label)
    axes.axhline(0, color=FAINT, linewidth=0.9)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, _LEAST_EXCESS[0]), max(1.1 * high, _LEAST_EXCESS[1]))
    axes.legend(frameon=False, fontsize=_SMALL, loc="upper left", labelcolor=INK)
    axes.set_title("spike scores above the reference, in its spreads", loc="left", fontsize=_FONT, color=INK)


def _draw_confirmed(axes: Axes, rows: Sequence[SweepRow]) -> None:
    steps = [row.step for row in rows]
    images, prompts = [row.n_confirmed_images for row in rows], [row.n_confirmed_prompts for row in rows]
    axes.plot(steps, prompts, "o-", color=OCHRE, markersize=3.5, linewidth=1.6, label="prompts")
    axes.plot(steps, images, "o-", color=LEAK, markersize=3.5, linewidth=1.6, label="distinct images")
    axes.set_ylim(0, max(1.0, 1.15 * max(*images, *prompts)))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.legend(frameon=False, fontsize=_SMALL, loc="upper left", labelcolor=INK)
    axes.set_title("memorized images confirmed", loc="left", fontsize=_FONT, color=INK)


def _style_steps(axes: Axes, sweep: Sweep) -> None:
    steps = [row.step for row in sweep.rows]
    if min(steps) > 0 and max(steps) > _SPREAD_OUT * median(steps):
        axes.set_xscale("log")
        stride = -(-len(steps) // _MAX_TICKS)
        axes.xaxis.set_major_locator(FixedLocator(steps[::-1][::stride]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:g}"))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))  # ticks at round steps
    axes.set_xlabel(
        sweep.unit if sweep.unit != "place" else "checkpoint, in the order given", fontsize=_FONT, color=INK
    )


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=MUTED, labelsize=_SMALL, length=3)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)


def _mark_first_failing(panels: Sequence[Axes], sweep: Sweep) -> None:
    first = sweep.first_failing
    if first is None:
        return
    for axes in panels:
        axes.axvline(first.step, color=INK, linestyle=_DASHES, linewidth=1, zorder=1)
    low, high = panels[-1].get_xlim()
    is_right = sweep.rows.index(first) >= len(sweep.rows) / 2 and low < high
    panels[0].annotate(
        f"first failure: {visible_text(first.checkpoint, 30)}",
        (first.step, 1),
        (-4 if is_right else 4, -1),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color=INK,
        fontsize=_SMALL,
        ha="right" if is_right else "left",
        va="top",
        parse_math=False,
    )
