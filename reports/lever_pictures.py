"""Pictures of a localization: memories before and after their levers are replaced, and where responses are made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from reports.drawing import CALM, INK, LEAK, MUTED, empty_figure, save_png
from reports.site_names import distinct_names
from reports.text import visible_text

MAX_ROWS = 12
_CELL, _CAPTION, _HEADER = 1.25, 2.6, 0.5  # inches
_CAPTION_LETTERS = 36  # a line

Pictures = npt.NDArray[np.uint8]  # [seed, height, width, 3]


@dataclass(frozen=True, slots=True)
class LeverRow:
    """One memory: its picture, and its prompt's samples before and after, [seed, height, width, 3]."""

    caption: str
    is_erased: bool
    memory: npt.NDArray[np.uint8]
    before: Pictures
    after: Pictures


def lever_panel(rows: Sequence[LeverRow], path: Path, n_seeds: int = 2) -> None:
    """Draw the first twelve memories as a PNG: the recovered picture, then samples before and after, seed by seed."""
    shown = rows[:MAX_ROWS]
    columns = ["memory", *["before"] * n_seeds, *["after"] * n_seeds]
    width, height = _CAPTION + _CELL * len(columns), _HEADER + _CELL * len(shown)
    figure = empty_figure(width, height)
    grid = figure.add_gridspec(len(shown), len(columns) + 1, width_ratios=[_CAPTION, *[_CELL] * len(columns)])
    for i, row in enumerate(shown):
        text = figure.add_subplot(grid[i, 0])
        text.axis("off")
        verdict = "erased" if row.is_erased else "not erased"
        caption = fill(visible_text(row.caption, 90), _CAPTION_LETTERS)
        text.text(0, 0.55, caption, fontsize=8, color=INK, va="bottom", parse_math=False)
        text.text(0, 0.45, verdict, fontsize=8, color=CALM if row.is_erased else LEAK, va="top")
        pictures = [row.memory, *row.before[:n_seeds], *row.after[:n_seeds]]
        for j, (picture, name) in enumerate(zip(pictures, columns, strict=True)):
            axes = figure.add_subplot(grid[i, j + 1])
            _draw(axes, picture, name if i == 0 else "")
    save_png(figure, path)


def _draw(axes: Axes, picture: npt.NDArray[np.uint8], title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=8, color=MUTED)


def layer_map(shares: npt.NDArray[np.float64], prompts: Sequence[str], sites: Sequence[str], path: Path) -> None:
    """Draw how the positive attribution of each prompt is spread over the sites, as a PNG.

    Args:
        shares: [prompt, site], each row of one kind of site adding up to 1 or less.
        sites: names of the columns, in the model's order.
    """
    names = distinct_names(sites)
    figure = empty_figure(4.6 + 0.34 * len(sites), 1.2 + 0.26 * len(prompts) + 0.07 * max(map(len, names)))
    axes = figure.add_subplot()
    image = axes.imshow(shares, aspect="auto", cmap="Blues", vmin=0)
    axes.set_xticks(range(len(sites)), labels=names, rotation=90, fontsize=7, color=INK)
    captions = [visible_text(prompt, 40) for prompt in prompts]
    axes.set_yticks(range(len(prompts)), labels=captions, fontsize=7, color=INK, parse_math=False)
    axes.tick_params(length=0)
    axes.set_title("share of a prompt's response that each site carries", fontsize=9, color=INK, loc="left")
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    save_png(figure, path)
