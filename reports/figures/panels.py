"""Figures of an audit: the evidence sheet and the histogram of scores."""

import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from flashbulb.reports.figures.drawing import (
    CALM,
    DPI,
    FAINT,
    INK,
    LEAK,
    MUTED,
    empty_figure,
    load_image,
    save_png,
    show_image,
)
from flashbulb.reports.figures.image_files import open_image
from flashbulb.reports.views.text import visible_text

MAX_PANEL_ROWS = 12
N_SAMPLES = 3

_CELL = 1.5  # inches, as all sizes here
_LABEL = 2.6
_MARGIN = 0.1
_HEADER = 0.55
_FADED = 0.85  # how far the part that is not fixed fades to white


@dataclass(frozen=True, slots=True)
class PanelRow:
    """A finding with its images, which are files.

    Args:
        prompt: None, like `spike_score` and `q_value`, for a finding without a prompt.
        confidence: calibrated probability that the recovered image is memorized; None if not judged.
        evaluations: UE spent on the finding.
        training_image: the nearest training image; None if unknown.
        samples: plain samples of the prompt; the first three are drawn.
        recovered: the best image of the successful strategy; None if images are not saved.
        mask: white where all seeds agree; None unless the finding is a template.
    """

    prompt: str | None
    verdict: str
    strategy: str
    spike_score: float | None
    q_value: float | None
    confidence: float | None
    evaluations: int
    training_image: Path | None
    samples: tuple[Path, ...]
    recovered: Path | None
    mask: Path | None


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of a sheet; a column exists if at least one row has an image for it."""

    with_training: bool
    n_samples: int
    with_fixed: bool

    @property
    def recovered(self) -> int:
        """Position of the column of recovered images."""
        return self.with_training + self.n_samples

    @property
    def count(self) -> int:
        """Number of columns."""
        return self.recovered + 1 + self.with_fixed


def evidence_panel(rows: Sequence[PanelRow], path: Path) -> None:
    """Draw the first twelve findings as a PNG: text, training image, three samples, recovered image, fixed part.

    Columns that no finding needs are left out; the recovered image is framed.

    Raises:
        ValueError: there is no finding.
    """
    if not rows:
        raise ValueError(f"no finding to draw on {path.name}; an audit without findings has no evidence sheet")
    shown = rows[:MAX_PANEL_ROWS]
    columns = _Columns(
        any(row.training_image for row in shown),
        min(N_SAMPLES, max(len(row.samples) for row in shown)),
        any(row.mask and row.recovered for row in shown),
    )
    size = (_LABEL + columns.count * _CELL, _HEADER + len(shown) * _CELL + _MARGIN)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    _draw_header(figure, columns, n_shown=len(shown), n_findings=len(rows))
    for index, row in enumerate(shown):
        bottom = size[1] - _HEADER - (index + 1) * _CELL
        _draw_text(figure, row, (bottom + 0.48 * _CELL) / size[1])
        _draw_images(figure, row, columns, bottom)
    save_png(figure, path)


def score_histogram(
    reference: Sequence[float], candidates: Sequence[float], thresholds: Collection[float], path: Path
) -> None:
    """Draw overlaid histograms of reference and candidate scores, with the threshold of each style, as a PNG."""
    groups = [[score for score in scores if isfinite(score)] for scores in (reference, candidates)]
    figure = empty_figure(7, 3.2)
    axes = figure.add_subplot()
    scores = [*groups[0], *groups[1], *thresholds]
    low, high = min(scores), max(scores)
    edges = [low + (high - low or 1.0) * step / 60 for step in range(61)]
    names = (f"reference prompts ({len(groups[0])})", f"candidate prompts ({len(groups[1])})")
    for group, name, color in zip(groups, names, (CALM, LEAK), strict=True):
        axes.hist(group, bins=edges, label=name, color=color, alpha=0.6)
    for index, threshold in enumerate(thresholds):
        label = f"thresholds of {len(thresholds)} styles" if len(thresholds) > 1 else f"threshold {threshold:.3g}"
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label=None if index else label)
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("spike score")
    axes.set_ylabel("prompts")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(facecolor="white", edgecolor="none", framealpha=0.9, fontsize=8)
    save_png(figure, path)


def _draw_header(figure: Figure, columns: _Columns, n_shown: int, n_findings: int) -> None:
    width, height = figure.get_size_inches()
    baseline = (height - 0.8 * _HEADER) / height
    count = f"{n_shown} of {n_findings} findings" if n_shown < n_findings else f"Findings: {n_findings}"
    figure.text(0.12 / width, baseline, count, color=INK, fontsize=10, weight="bold", va="bottom")
    titles = [
        (0, int(columns.with_training), "training image", INK, "bold"),
        (int(columns.with_training), columns.n_samples, "plain samples", INK, "normal"),
        (columns.recovered, 1, "recovered", LEAK, "bold"),
        (columns.recovered + 1, int(columns.with_fixed), "fixed part", INK, "normal"),
    ]
    for first, n_columns, title, color, weight in titles:
        if n_columns:
            middle = (_LABEL + (first + 0.48 * n_columns) * _CELL) / width
            figure.text(middle, baseline, title, color=color, fontsize=9, weight=weight, ha="center", va="bottom")


def _draw_text(figure: Figure, row: PanelRow, middle: float) -> None:
    width, height = figure.get_size_inches()
    left, gap = 0.12 / width, 0.04 / height
    prompt = "found without a prompt" if row.prompt is None else visible_text(row.prompt, 160)
    text = "\n".join(textwrap.wrap(prompt, width=32, max_lines=4, placeholder=" …"))
    style = "italic" if row.prompt is None else "normal"
    color = MUTED if row.prompt is None else INK
    figure.text(
        left, middle + gap, text, color=color, style=style, fontsize=8, va="bottom", linespacing=1.25, parse_math=False
    )
    figure.text(
        left, middle - gap, _numbers(row), color=MUTED, fontsize=7.5, va="top", linespacing=1.35, parse_math=False
    )


def _numbers(row: PanelRow) -> str:
    """Format the verdict, confidence, scores and cost of a finding, in up to three lines."""
    by = f"{visible_text(row.verdict, 20).replace('_', ' ')} by {visible_text(row.strategy.replace('_', ' '), 20)}"
    confidence = "" if row.confidence is None else f"   confidence {row.confidence:.2f}"
    spike = "" if row.spike_score is None else f"spike {row.spike_score:.3g}"
    q_value = "" if row.q_value is None else f"q {row.q_value:.2g}"
    scores = "   ".join(part for part in (spike, q_value) if part)
    return "\n".join(line for line in (by + confidence, scores, f"{row.evaluations:,} denoiser evaluations") if line)


def _draw_images(figure: Figure, row: PanelRow, columns: _Columns, bottom: float) -> None:
    width, height = figure.get_size_inches()
    samples = [*row.samples, *[None] * N_SAMPLES][: columns.n_samples]
    cells = [*([row.training_image] if columns.with_training else []), *samples, row.recovered]
    images = [None if cell is None else load_image(cell) for cell in cells]
    if columns.with_fixed:
        images.append(highlight_fixed_part(row.recovered, row.mask) if row.recovered and row.mask else None)
    for column, image in enumerate(images):
        left = _LABEL + column * _CELL
        axes = figure.add_axes((left / width, bottom / height, 0.96 * _CELL / width, 0.96 * _CELL / height))
        _draw_image(axes, image, framed=column == columns.recovered)


def _draw_image(axes: Axes, image: Image.Image | None, framed: bool) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=framed and image is not None, color=LEAK, linewidth=2)
    if image is None:
        axes.text(0.5, 0.5, "–", color=FAINT, fontsize=11, ha="center", va="center")
        return
    show_image(axes, image)


def highlight_fixed_part(recovered: Path, mask_path: Path) -> Image.Image:
    """Return the recovered image, grey and faded where the mask is black because seeds differ."""
    image = load_image(recovered)
    with open_image(mask_path) as opened:
        mask = opened.convert("L").resize(image.size, Image.Resampling.NEAREST)
    grey = ImageOps.grayscale(image).convert("RGB")
    return Image.composite(image, Image.blend(grey, Image.new("RGB", image.size, "white"), _FADED), mask)
