"""Figures of a localization: samples before and after ablation, and the share of the response by site."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from flashbulb.reports.figures.drawing import CALM, INK, LEAK, MUTED, empty_figure, save_png
from flashbulb.reports.views.site_names import distinct_names
from flashbulb.reports.views.text import visible_text

MAX_ROWS, N_SEEDS = 12, 2
_CELL, _LABEL, _HEADER = 1.25, 2.6, 0.5  # inches
_LABEL_LETTERS = 36  # a line

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LocalizationRow:
    """A memorized image, and samples of its prompt before and after ablating the localized neurons.

    Args:
        recovered: [height, width, 3].
        before, after: [seed, height, width, 3].
    """

    prompt: str
    is_erased: bool
    recovered: Pixels
    before: Pixels
    after: Pixels


def localization_panel(rows: Sequence[LocalizationRow], path: Path) -> None:
    """Draw the first twelve rows as a PNG: the recovered image, two samples before, then two after."""
    shown = rows[:MAX_ROWS]
    columns = ["recovered", *["before"] * N_SEEDS, *["after"] * N_SEEDS]
    width, height = _LABEL + _CELL * len(columns), _HEADER + _CELL * len(shown)
    figure = empty_figure(width, height)
    grid = figure.add_gridspec(len(shown), len(columns) + 1, width_ratios=[_LABEL, *[_CELL] * len(columns)])
    for i, row in enumerate(shown):
        text = figure.add_subplot(grid[i, 0])
        text.axis("off")
        verdict = "erased" if row.is_erased else "not erased"
        prompt = fill(visible_text(row.prompt, 90), _LABEL_LETTERS)
        text.text(0, 0.55, prompt, fontsize=8, color=INK, va="bottom", parse_math=False)
        text.text(0, 0.45, verdict, fontsize=8, color=CALM if row.is_erased else LEAK, va="top")
        images = [row.recovered, *row.before[:N_SEEDS], *row.after[:N_SEEDS]]
        for j, (image, name) in enumerate(zip(images, columns, strict=True)):
            axes = figure.add_subplot(grid[i, j + 1])
            _draw(axes, image, name if i == 0 else "")
    save_png(figure, path)


def _draw(axes: Axes, image: Pixels, title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=8, color=MUTED)


def layer_map(shares: npt.NDArray[np.float64], prompts: Sequence[str], sites: Sequence[str], path: Path) -> None:
    """Draw the share of each prompt's positive attribution by site as a PNG.

    Args:
        shares: [prompt, site], all sites of one kind; a row adds up to 1 or less.
        sites: names of the columns, in network order.
    """
    names = distinct_names(sites)
    figure = empty_figure(4.6 + 0.34 * len(sites), 1.2 + 0.26 * len(prompts) + 0.07 * max(map(len, names)))
    axes = figure.add_subplot()
    image = axes.imshow(shares, aspect="auto", cmap="Blues", vmin=0)
    axes.set_xticks(range(len(sites)), labels=names, rotation=90, fontsize=7, color=INK)
    labels = [visible_text(prompt, 40) for prompt in prompts]
    axes.set_yticks(range(len(prompts)), labels=labels, fontsize=7, color=INK, parse_math=False)
    axes.tick_params(length=0)
    axes.set_title("share of a prompt's response by site", fontsize=9, color=INK, loc="left")
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    save_png(figure, path)
