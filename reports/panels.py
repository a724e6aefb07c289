"""Pictures for people: the evidence sheet and the histogram of scores, drawn without a display."""

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from reports.files import whole_file
from reports.text import visible_text

MAX_PANEL_ROWS = 12
N_SAMPLES = 4

_CELL = 1.5  # inches
_CAPTION = 2.6
_MARGIN = 0.1
_DPI = 150
_INK, _MUTED, _LEAK, _CALM = "#1f2430", "#6b7280", "#c2410c", "#2563a8"


@dataclass(frozen=True, slots=True)
class PanelRow:
    """One finding: the training image, if known, and samples of the prompt, as image files."""

    prompt: str
    verdict: str
    spike_score: float
    q_value: float
    training_image: Path | None
    samples: tuple[Path, ...]


def evidence_panel(rows: Sequence[PanelRow], path: Path) -> None:
    """Draw the first twelve findings side by side as a PNG: caption, training image, four samples each."""
    if not rows:
        raise ValueError(f"no finding to draw on {path.name}; an audit without findings has no evidence sheet")
    shown = rows[:MAX_PANEL_ROWS]
    with_training = any(row.training_image for row in shown)
    n_images = N_SAMPLES + with_training
    width, header = _CAPTION + n_images * _CELL, 0.55
    figure = Figure(figsize=(width, header + len(shown) * _CELL + _MARGIN), dpi=_DPI, facecolor="white")
    height = figure.get_figheight()
    _draw_header(figure, with_training, header, n_shown=len(shown), n_findings=len(rows))
    for index, row in enumerate(shown):
        bottom = height - header - (index + 1) * _CELL
        _draw_caption(figure, row, (bottom + _CELL / 2) / height)
        images = ([row.training_image] if with_training else []) + list(row.samples[:N_SAMPLES])
        for column, image in enumerate(images):
            left = _CAPTION + column * _CELL
            axes = figure.add_axes((left / width, bottom / height, 0.96 * _CELL / width, 0.96 * _CELL / height))
            _draw_image(axes, image, framed=with_training and column == 0)
    _save(figure, path)


def score_histogram(
    reference: Sequence[float], candidates: Sequence[float], threshold: float | None, path: Path
) -> None:
    """Draw the scores of reference and candidate prompts over one another, with the threshold, as a PNG."""
    groups = [[score for score in scores if isfinite(score)] for scores in (reference, candidates)]
    figure = Figure(figsize=(7, 3.2), dpi=_DPI, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    scores = [*groups[0], *groups[1], *([] if threshold is None else [threshold])]
    low, high = min(scores), max(scores)
    edges = [low + (high - low or 1.0) * step / 60 for step in range(61)]
    names = (f"reference prompts ({len(groups[0])})", f"candidate prompts ({len(groups[1])})")
    for group, name, color in zip(groups, names, (_CALM, _LEAK), strict=True):
        axes.hist(group, bins=edges, label=name, color=color, alpha=0.6)
    if threshold is not None:
        axes.axvline(threshold, color=_INK, linestyle="--", linewidth=1.2, label=f"threshold {threshold:.3g}")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("spike score")
    axes.set_ylabel("prompts")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def _draw_header(figure: Figure, with_training: bool, header: float, n_shown: int, n_findings: int) -> None:
    width, height = figure.get_size_inches()
    baseline = (height - 0.8 * header) / height
    count = f"{n_shown} of {n_findings} findings" if n_shown < n_findings else f"Findings: {n_findings}"
    figure.text(0.12 / width, baseline, count, color=_INK, fontsize=10, weight="bold", va="bottom")
    left = _CAPTION
    if with_training:
        middle = (left + 0.48 * _CELL) / width
        figure.text(
            middle,
            baseline,
            "training image",
            color=_LEAK,
            fontsize=9,
            weight="bold",
            ha="center",
            va="bottom",
        )
        left += _CELL
    middle = (left + 0.48 * N_SAMPLES * _CELL) / width
    figure.text(middle, baseline, "what the model gave back", color=_INK, fontsize=9, ha="center", va="bottom")


def _draw_caption(figure: Figure, row: PanelRow, middle: float) -> None:
    width, height = figure.get_size_inches()
    prompt = textwrap.wrap(visible_text(row.prompt, 160), width=32, max_lines=4, placeholder=" …")
    numbers = f"spike {row.spike_score:.3g}   q {row.q_value:.2g}\n{visible_text(row.verdict, 40)}"
    left, gap = 0.12 / width, 0.04 / height
    text = "\n".join(prompt)
    figure.text(left, middle + gap, text, color=_INK, fontsize=8, va="bottom", linespacing=1.25, parse_math=False)
    figure.text(left, middle - gap, numbers, color=_MUTED, fontsize=7.5, va="top", linespacing=1.3, parse_math=False)


def _draw_image(axes: Axes, image: Path | None, framed: bool) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=framed and image is not None, color=_LEAK, linewidth=1.5)
    if image is None:
        axes.text(0.5, 0.5, "none given", color=_MUTED, fontsize=8, ha="center", va="center")
        axes.set_facecolor("#f3f4f6")
        return
    with Image.open(image) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((512, 512))
    axes.imshow(picture, interpolation="nearest" if max(picture.size) <= 128 else "antialiased")


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with whole_file(path) as part, _quiet_about_glyphs():
        figure.savefig(part, format="png", metadata={"Software": None})


@contextmanager
def _quiet_about_glyphs() -> Iterator[None]:
    """Prompts may be in alphabets that the font lacks; they are drawn as boxes, which needs no warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield
