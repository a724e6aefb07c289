"""What our pictures share: colours, an empty figure, and saving it without a display."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from reports.files import whole_file

DPI = 150
INK, MUTED, FAINT, GRID = "#1f2430", "#6b7280", "#b6bcc6", "#e5e7eb"
LEAK, CALM = "#c2410c", "#2563a8"
CURVES = ("#c2410c", "#2563a8", "#15803d", "#7c3aed", "#ca8a04", "#1f2430")


def empty_figure(width: float, height: float) -> Figure:
    """A white figure, in inches, whose axes arrange themselves."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, whole or not at all."""
    FigureCanvasAgg(figure)
    with whole_file(path) as part, _quiet_about_glyphs():
        figure.savefig(part, format="png", metadata={"Software": None})


@contextmanager
def _quiet_about_glyphs() -> Iterator[None]:
    """Names may be in alphabets that the font lacks; they are drawn as boxes, which needs no warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield
