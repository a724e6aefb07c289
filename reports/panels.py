"""Pictures for people: the evidence sheet and the histogram of scores, drawn without a display."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from reports.drawing import CALM, DPI, FAINT, INK, LEAK, MUTED, empty_figure, save_png
from reports.text import visible_text

MAX_PANEL_ROWS = 12
N_SAMPLES = 3

_CELL = 1.5  # inches
_CAPTION = 2.6
_MARGIN = 0.1
_HEADER = 0.55
_FADED = 0.85  # how far towards white what is not fixed is drawn


@dataclass(frozen=True, slots=True)
class PanelRow:
    """One finding, its pictures as image files.

    Args:
        prompt: None, like `spike_score` and `q_value`, for what was found without a prompt.
        confidence: calibrated probability that the recovered picture is memorized; None if not judged.
        evaluations: UE that the finding cost.
        training_image: the nearest one, None if none is known.
        samples: plain samples of the prompt; the first three are drawn.
        recovered: the best picture of the strategy that succeeded, None if pictures are not kept.
        mask: white where all seeds give the same; None unless the memory is a template.
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
    """Which columns a sheet has; each is there if some row has something to put in it."""

    with_training: bool
    n_samples: int
    with_fixed: bool

    @property
    def recovered(self) -> int:
        """Position of the recovered picture's column."""
        return self.with_training + self.n_samples

    @property
    def count(self) -> int:
        """How many columns of pictures there are."""
        return self.recovered + 1 + self.with_fixed


def evidence_panel(rows: Sequence[PanelRow], path: Path) -> None:
    """Draw the first twelve findings as a PNG: caption, training image, three samples, recovered picture, fixed part.

    A column that no finding needs is left out; the recovered picture is framed.
    """
    if not rows:
        raise ValueError(f"no finding to draw on {path.name}; an audit without findings has no evidence sheet")
    shown = rows[:MAX_PANEL_ROWS]
    columns = _Columns(
        any(row.training_image for row in shown),
        min(N_SAMPLES, max(len(row.samples) for row in shown)),
        any(row.mask and row.recovered for row in shown),
    )
    size = (_CAPTION + columns.count * _CELL, _HEADER + len(shown) * _CELL + _MARGIN)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    _draw_header(figure, columns, n_shown=len(shown), n_findings=len(rows))
    for index, row in enumerate(shown):
        bottom = size[1] - _HEADER - (index + 1) * _CELL
        _draw_caption(figure, row, (bottom + 0.48 * _CELL) / size[1])
        _draw_pictures(figure, row, columns, bottom)
    save_png(figure, path)


def score_histogram(
    reference: Sequence[float], candidates: Sequence[float], threshold: float | None, path: Path
) -> None:
    """Draw the scores of reference and candidate prompts over one another, with the threshold, as a PNG."""
    groups = [[score for score in scores if isfinite(score)] for scores in (reference, candidates)]
    figure = empty_figure(7, 3.2)
    axes = figure.add_subplot()
    scores = [*groups[0], *groups[1], *([] if threshold is None else [threshold])]
    low, high = min(scores), max(scores)
    edges = [low + (high - low or 1.0) * step / 60 for step in range(61)]
    names = (f"reference prompts ({len(groups[0])})", f"candidate prompts ({len(groups[1])})")
    for group, name, color in zip(groups, names, (CALM, LEAK), strict=True):
        axes.hist(group, bins=edges, label=name, color=color, alpha=0.6)
    if threshold is not None:
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label=f"threshold {threshold:.3g}")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("spike score")
    axes.set_ylabel("prompts")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
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
            middle = (_CAPTION + (first + 0.48 * n_columns) * _CELL) / width
            figure.text(middle, baseline, title, color=color, fontsize=9, weight=weight, ha="center", va="bottom")


def _draw_caption(figure: Figure, row: PanelRow, middle: float) -> None:
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
    """Verdict, confidence and scores of a finding, in up to three lines."""
    by = f"{visible_text(row.verdict, 20).replace('_', ' ')} by {visible_text(row.strategy.replace('_', ' '), 20)}"
    confidence = "" if row.confidence is None else f"   confidence {row.confidence:.2f}"
    spike = "" if row.spike_score is None else f"spike {row.spike_score:.3g}"
    q_value = "" if row.q_value is None else f"q {row.q_value:.2g}"
    scores = "   ".join(part for part in (spike, q_value) if part)
    return "\n".join(line for line in (by + confidence, scores, f"{row.evaluations:,} UNet evaluations") if line)


def _draw_pictures(figure: Figure, row: PanelRow, columns: _Columns, bottom: float) -> None:
    width, height = figure.get_size_inches()
    samples = [*row.samples, *[None] * N_SAMPLES][: columns.n_samples]
    cells = [*([row.training_image] if columns.with_training else []), *samples, row.recovered]
    pictures = [None if cell is None else _opened(cell) for cell in cells]
    if columns.with_fixed:
        pictures.append(fixed_part(row.recovered, row.mask) if row.recovered and row.mask else None)
    for column, picture in enumerate(pictures):
        left = _CAPTION + column * _CELL
        axes = figure.add_axes((left / width, bottom / height, 0.96 * _CELL / width, 0.96 * _CELL / height))
        _draw_picture(axes, picture, framed=column == columns.recovered)


def _draw_picture(axes: Axes, picture: Image.Image | None, framed: bool) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=framed and picture is not None, color=LEAK, linewidth=2)
    if picture is None:
        axes.text(0.5, 0.5, "–", color=FAINT, fontsize=11, ha="center", va="center")
        return
    axes.imshow(picture, interpolation="nearest" if max(picture.size) <= 128 else "antialiased")


def fixed_part(recovered: Path, mask_path: Path) -> Image.Image:
    """The recovered picture, grey and faded where seeds differ."""
    picture = _opened(recovered)
    with Image.open(mask_path) as opened:
        mask = opened.convert("L").resize(picture.size, Image.Resampling.NEAREST)
    grey = ImageOps.grayscale(picture).convert("RGB")
    return Image.composite(picture, Image.blend(grey, Image.new("RGB", picture.size, "white"), _FADED), mask)


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((512, 512))
    return picture
