"""The trend over several runs of the same prompts: how many images and prompts leak, run by run."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.ticker import FixedLocator, MaxNLocator

from flashbulb.reports.drawings.svg import FONT, draw_text, style_axes, svg_text, unit_figure
from flashbulb.reports.figures.drawing import CALM, GRID, LEAK

_MAX_TICKS = 6


class TrendPoint(NamedTuple):
    """A run: its name and day, and how many distinct images were confirmed and how many prompts gave an image."""

    name: str
    day: str
    n_images: int
    n_prompts: int


def trend_curve(points: Sequence[TrendPoint], *, name: str) -> str:
    """Draw the runs in the order given as SVG, one curve for images and one for prompts.

    Args:
        name: unique in the page.

    Raises:
        ValueError: there are fewer than two runs.
    """
    if len(points) < 2:
        raise ValueError(f"{len(points)} run has no trend; give at least two")
    figure = unit_figure(170, auto_layout=True)
    axes = figure.add_subplot()
    places = range(len(points))
    images, prompts = [point.n_images for point in points], [point.n_prompts for point in points]
    axes.plot(places, prompts, "o-", color=CALM, markersize=6, linewidth=3.5)
    axes.plot(places, images, "o-", color=LEAK, markersize=3.5, linewidth=1.6)  # both show where equal
    axes.set_ylim(0, max(1.0, 1.15 * max(*images, *prompts)))
    axes.set_xlim(-0.3, len(points) - 0.7)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    style_axes(axes)
    shown = list(places)[:: -1 * -(-len(points) // _MAX_TICKS)][::-1]  # the last run always has its day
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.set_xticklabels([points[place].day for place in shown], parse_math=False)
    axes.set_xlabel("day of the audit")
    draw_text(axes, "prompts that gave an image", (0, 1), (0, 20), coords="axes fraction", color=CALM, size=FONT)
    draw_text(axes, "distinct images confirmed", (0, 1), (0, 7), coords="axes fraction", color=LEAK, size=FONT)
    counted = ", ".join(f"{point.name} {point.n_images}" for point in points)
    return svg_text(figure, name=name, alt=f"Distinct images confirmed, run by run: {counted}.")
