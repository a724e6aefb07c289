"""What all figures share: colours for light and dark pages, empty figures, images in them, and saving as PNG."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from flashbulb.reports.figures.image_files import open_image
from flashbulb.reports.tables.files import atomic_write

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
"""Colours by their CSS name; `paper` is the background. Faint and grid are for lines, never for text."""
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
"""The same names for a dark page; on both, every colour for text has a contrast of at least 4.5 to `paper`."""


def empty_figure(width: float, height: float) -> Figure:
    """Create a white figure with constrained layout; width and height are in inches."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, atomically."""
    with atomic_write(path) as part, ignore_missing_glyphs():
        figure.savefig(part, format="png", metadata={"Software": None})


def load_image(path: Path) -> Image.Image:
    """Load an image as RGB, shrunk to at most 512 pixels a side."""
    with open_image(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((512, 512))
    return image


def show_image(axes: Axes, image: Image.Image) -> None:
    """Draw an image into axes; small images keep their pixels, larger ones are smoothed."""
    axes.imshow(image, interpolation="nearest" if max(image.size) <= 128 else "antialiased")


@contextmanager
def ignore_missing_glyphs() -> Iterator[None]:
    """Silence warnings about names in alphabets that the font lacks; their letters are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield
