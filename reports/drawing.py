"""What our pictures share: colours on light and dark pages, an empty figure, and saving it without a display."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure

from reports.files import whole_file

DPI = 150
INK, MUTED, FAINT, GRID = "#1f2430", "#6b7280", "#b6bcc6", "#e5e7eb"
LEAK, CALM, GREEN, VIOLET, OCHRE = "#c2410c", "#2563a8", "#15803d", "#7c3aed", "#a16207"
CURVES = (LEAK, CALM, GREEN, VIOLET, OCHRE, INK)

LIGHT = {
    "paper": "#ffffff",
    "ink": INK,
    "muted": MUTED,
    "faint": FAINT,
    "grid": GRID,
    "leak": LEAK,
    "calm": CALM,
    "green": GREEN,
    "violet": VIOLET,
    "ochre": OCHRE,
}
"""Colours by their CSS name; `paper` is the page itself. Faint and grid are for lines, never for words."""
DARK = {
    "paper": "#14171c",
    "ink": "#e6e8ec",
    "muted": "#9aa3b2",
    "faint": "#565e6c",
    "grid": "#2a2f38",
    "leak": "#fb8a4c",
    "calm": "#6cb0f2",
    "green": "#5cc481",
    "violet": "#b79bfa",
    "ochre": "#d9ab3f",
}
"""The same names on a dark page; every colour of words has a contrast of at least 4.5 to `paper` in both."""


def empty_figure(width: float, height: float) -> Figure:
    """A white figure, in inches, whose axes arrange themselves."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, whole or not at all."""
    with whole_file(path) as part, quiet_about_glyphs():
        figure.savefig(part, format="png", metadata={"Software": None})


@contextmanager
def quiet_about_glyphs() -> Iterator[None]:
    """Names may be in alphabets that the font lacks; they are drawn as boxes, which needs no warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield
