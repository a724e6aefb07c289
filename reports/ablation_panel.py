"""The panel of one ablated prompt: its pictures before and after, seed by seed, side by side."""

import textwrap
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from reports.ablation import PromptEffect
from reports.drawing import DPI, INK, LEAK, MUTED, save_png
from reports.text import visible_text

MAX_SEEDS = 8

_CELL = 1.5  # inches
_LABELS = 1.55
_MARGIN = 0.12
_LINE = 0.17  # of the prompt
_SEEDS = 0.3
_DISTANCES = 0.3
_FILL = 0.96  # of a cell is picture


def ablation_panel(effect: PromptEffect, directory: Path) -> None:
    """Draw the first eight seeds as a PNG: above the pictures before, below those after, and how far they differ."""
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
        _write(figure, _MARGIN, bottom + 0.58 * _CELL, _numbers(effect, index), MUTED, 7.5, va="top", linespacing=1.5)
        for column, path in enumerate(paths[:shown]):
            _draw_picture(figure, directory / path, _LABELS + column * _CELL, bottom)
    for column in range(shown):
        middle = _LABELS + (column + _FILL / 2) * _CELL
        _write(figure, middle, _DISTANCES + 2 * _CELL + 0.03, f"seed {column}", MUTED, 8, va="bottom", ha="center")
        distance = f"distance {effect.distances[column]:.3f}"
        _write(figure, middle, _DISTANCES - 0.06, distance, INK, 8, va="top", ha="center")
    hidden = len(effect.before) - shown
    if hidden:
        _write(figure, _MARGIN, _DISTANCES - 0.06, f"and {hidden} more seeds", MUTED, 7.5, va="top")
    save_png(figure, directory / effect.panel)


def _numbers(effect: PromptEffect, index: int) -> str:
    lines = [f"diversity {effect.diversity[index]:.3f}", f"agreement {effect.agreement[index]:.2f}"]
    return "\n".join(lines if effect.noise is None else [*lines, f"text noise {effect.noise[index]:.2f}"])


def _write(figure: Figure, left: float, height: float, text: str, color: str, fontsize: float, **style: Any) -> None:
    """Write text at a place in inches; prompts are strangers', so a `$` begins no formula."""
    full = figure.get_size_inches()
    figure.text(left / full[0], height / full[1], text, color=color, fontsize=fontsize, parse_math=False, **style)


def _draw_picture(figure: Figure, path: Path, left: float, bottom: float) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, _FILL * _CELL / width, _FILL * _CELL / height))
    axes.set_axis_off()
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((512, 512))
    axes.imshow(picture, interpolation="nearest" if max(picture.size) <= 128 else "antialiased")
