"""The panel of one ablated prompt: its images before and after the ablation, side by side for each seed."""

import textwrap
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from flashbulb.reports.figures.drawing import DPI, INK, LEAK, MUTED, load_image, save_png, show_image
from flashbulb.reports.views.ablation import PromptEffect
from flashbulb.reports.views.text import visible_text

MAX_SEEDS = 8

_CELL = 1.5  # inches, as all sizes here
_LABELS = 1.55
_MARGIN = 0.12
_LINE = 0.17  # a line of the prompt
_SEEDS = 0.3
_DISTANCES = 0.3
_FILL = 0.96  # share of a cell that the image fills


def ablation_panel(effect: PromptEffect, directory: Path) -> None:
    """Draw the first eight seeds as a PNG: images before above, images after below, with their tile distances.

    Args:
        directory: the directory of the ablation, which the paths of `effect` are relative to.
    """
    shown = min(MAX_SEEDS, len(effect.before))
    width = _LABELS + shown * _CELL + _MARGIN
    wrapped = textwrap.wrap(visible_text(effect.prompt, 240), int(width * 12), max_lines=3, placeholder=" …")
    head = _MARGIN + len(wrapped) * _LINE + _SEEDS
    size = (width, head + 2 * _CELL + _DISTANCES)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    _write(figure, _MARGIN, size[1] - _MARGIN, "\n".join(wrapped), INK, 9, va="top", weight="bold", linespacing=1.25)
    rows = (("before", effect.before, 0, INK), ("ablated", effect.after, 1, LEAK))
    for name, paths, index, color in rows:
        bottom = _DISTANCES + (1 - index) * _CELL
        _write(figure, _MARGIN, bottom + 0.64 * _CELL, name, color, 10, va="bottom", weight="bold")
        measures = _measures(effect, index)
        _write(figure, _MARGIN, bottom + 0.58 * _CELL, measures, MUTED, 7.5, va="top", linespacing=1.5)
        for column, path in enumerate(paths[:shown]):
            _draw_image(figure, directory / path, _LABELS + column * _CELL, bottom)
    for column in range(shown):
        middle = _LABELS + (column + _FILL / 2) * _CELL
        _write(figure, middle, _DISTANCES + 2 * _CELL + 0.03, f"seed {column}", MUTED, 8, va="bottom", ha="center")
        distance = f"distance {effect.distances[column]:.3f}"
        _write(figure, middle, _DISTANCES - 0.06, distance, INK, 8, va="top", ha="center")
    hidden = len(effect.before) - shown
    if hidden:
        _write(figure, _MARGIN, _DISTANCES - 0.06, f"and {hidden} more seeds", MUTED, 7.5, va="top")
    save_png(figure, directory / effect.panel)


def _measures(effect: PromptEffect, index: int) -> str:
    lines = [f"diversity {effect.diversity[index]:.3f}", f"agreement {effect.agreement[index]:.2f}"]
    return "\n".join(
        lines if effect.response_norm is None else [*lines, f"response norm {effect.response_norm[index]:.2f}"]
    )


def _write(figure: Figure, left: float, height: float, text: str, color: str, fontsize: float, **style: Any) -> None:
    """Write text at a position in inches; prompts are untrusted, so `$` starts no formula."""
    size = figure.get_size_inches()
    figure.text(left / size[0], height / size[1], text, color=color, fontsize=fontsize, parse_math=False, **style)


def _draw_image(figure: Figure, path: Path, left: float, bottom: float) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, _FILL * _CELL / width, _FILL * _CELL / height))
    axes.set_axis_off()
    show_image(axes, load_image(path))
