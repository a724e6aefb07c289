"""Figures of score distributions: spike scores with their threshold, and the scores of a text-only classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from flashbulb.reports.bounds.rates import count_text, percent
from flashbulb.reports.drawings.svg import FONT, Vector, draw_text, style_axes, svg_text, unit_figure
from flashbulb.reports.figures.drawing import CALM, INK, LEAK, MUTED

_N_BINS, _N_TEXT_BINS = 48, 24
_COUNT_TICKS = (0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
_DASHES = (0, (4, 3))


@dataclass(frozen=True, slots=True)
class _Panel:
    """One histogram: a title and the scores of each colour."""

    title: str
    bars: tuple[tuple[str, Vector], ...]

    @property
    def scores(self) -> Vector:
        """All scores of the panel."""
        return np.concatenate([scores for _, scores in self.bars])


def score_distributions(
    reference: Sequence[float],
    unflagged: Sequence[float],
    flagged: Sequence[float],
    threshold: float | None,
    *,
    name: str,
) -> str:
    """Draw histograms of spike scores as SVG: reference prompts above, candidates below, counts on a symlog axis.

    Non-finite scores are left out and counted below the axis. A set without scores gets no panel.

    Args:
        reference: scores of the reference prompts; may be empty.
        unflagged: scores of the candidates that are not flagged.
        flagged: scores of the candidates that are flagged.
        threshold: score above which a prompt is flagged; None if the false-positive rate is too low to resolve.
        name: unique among the figures of this kind in the page.

    Raises:
        ValueError: no score is finite.
    """
    finite = [_finite(scores) for scores in (reference, unflagged, flagged)]
    n_left_out = len(reference) + len(unflagged) + len(flagged) - sum(map(len, finite))
    panels = _panels(*finite)
    if not panels:
        raise ValueError("no finite score to draw; an audit without scores has no distributions")
    figure = unit_figure(34 + 98 * len(panels), auto_layout=True)
    grid = figure.subplots(len(panels), squeeze=False, sharex=True).ravel()
    edges = _edges(np.concatenate([*finite, [] if threshold is None else [threshold]]), _N_BINS)
    for axes, panel in zip(grid, panels, strict=True):
        _draw_panel(axes, panel, edges, threshold)
    if threshold is not None:
        _label_threshold(grid[0], threshold)
    grid[-1].set_xlabel("spike score" + (f" ({n_left_out:,} not finite, left out)" if n_left_out else ""))
    threshold_text = "" if threshold is None else f"; the threshold is {threshold:.3g}"
    alt = f"Spike scores of {' and '.join(panel.title for panel in panels)}{threshold_text}."
    return svg_text(figure, name=f"score-distributions-{name}", alt=alt)


def text_null(flagged: Sequence[float], others: Sequence[float], auc: float, others_name: str) -> str:
    """Draw how well the text alone separates flagged prompts from others as SVG: two histograms and the ROC curve.

    Args:
        flagged: cross-validated scores of a classifier that sees only the text; higher is more like a flagged prompt.
            Non-finite scores are left out.
        others: the same scores of the prompts that they are compared with.
        auc: area under the ROC curve, as run.json records it.
        others_name: what the others are, "reference" or "unflagged".

    Raises:
        ValueError: one of the sets has no finite score.
    """
    other_scores, flagged_scores = _finite(others), _finite(flagged)
    if not (len(other_scores) and len(flagged_scores)):
        raise ValueError(f"no flagged or no {others_name} prompt to draw; the text-only figure needs both")
    figure = unit_figure(180, auto_layout=True)
    spread, roc = figure.subplots(1, 2, width_ratios=(1.25, 1))
    edges = _edges(np.concatenate([other_scores, flagged_scores]), _N_TEXT_BINS)
    for row, (name, scores, color) in enumerate((("flagged", flagged_scores, LEAK), (others_name, other_scores, CALM))):
        weights = np.full(len(scores), 1 / len(scores))
        spread.hist(scores, bins=edges, weights=weights, color=color, alpha=0.6, histtype="stepfilled", zorder=9 - row)
        label = f"{name} ({len(scores):,})"
        draw_text(spread, label, (0, 1), (0, 20 - 12 * row), coords="axes fraction", color=color, va="bottom")
    style_axes(spread)
    spread.set(xlabel="text-only score", ylabel="share of prompts")
    spread.yaxis.set_major_formatter(FuncFormatter(lambda share, _: percent(share)))
    spread.yaxis.set_major_locator(MaxNLocator(4))
    _draw_roc(roc, other_scores, flagged_scores, others_name)
    draw_text(roc, f"AUC {auc:.2f}", (0.95, 0.12), size=FONT, ha="right", weight="bold")
    prompts = f"{len(flagged_scores):,} flagged from {count_text(len(other_scores), f'{others_name} prompt')}"
    alt = f"The text alone separates {prompts} with an AUC of {auc:.2f} (0.5 is chance)."
    return svg_text(figure, name="text-null", alt=alt)


def _panels(reference: Vector, unflagged: Vector, flagged: Vector) -> list[_Panel]:
    candidates = f"{count_text(len(unflagged) + len(flagged), 'candidate')}, {len(flagged):,} of them flagged"
    both = (
        _Panel(count_text(len(reference), "reference prompt"), ((CALM, reference),)),
        _Panel(candidates, ((MUTED, unflagged), (LEAK, flagged))),
    )
    return [panel for panel in both if len(panel.scores)]


def _finite(scores: Sequence[float]) -> Vector:
    return np.asarray([score for score in scores if isfinite(score)], dtype=np.float64)


def _edges(scores: Vector, n_bins: int) -> list[float]:
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    return [float(edge) for edge in np.linspace(low, high, n_bins + 1)]


def _draw_panel(axes: Axes, panel: _Panel, edges: list[float], threshold: float | None) -> None:
    for color, scores in (bar for bar in panel.bars if len(bar[1])):
        axes.hist(scores, bins=edges, color=color, alpha=0.75, histtype="stepfilled")
    style_axes(axes)
    axes.set_yscale("symlog", linthresh=1)
    top = max(15.0, 1.3 * axes.get_ylim()[1])
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in _COUNT_TICKS if tick <= top]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("prompts")
    color = next(color for color, scores in reversed(panel.bars) if len(scores))
    axes.set_title(panel.title, loc="left", fontsize=FONT, color=color)
    if threshold is not None:
        axes.axvline(threshold, color=INK, linestyle=_DASHES, linewidth=1)


def _label_threshold(axes: Axes, threshold: float) -> None:
    """Label the threshold inside the axes, on the side that has room."""
    low, high = axes.get_xlim()
    is_right = threshold > 0.7 * high + 0.3 * low
    draw_text(axes, f"threshold {threshold:.3g}", (threshold, 1), (-4 if is_right else 4, -2), size=FONT,
          coords=("data", "axes fraction"), ha="right" if is_right else "left", va="top")  # fmt: skip


def _draw_roc(axes: Axes, other_scores: Vector, flagged_scores: Vector, others_name: str) -> None:
    style_axes(axes)
    limits = np.unique(np.concatenate([other_scores, flagged_scores]))[::-1]
    fpr, tpr = ([0.0, *(scores >= limits[:, None]).mean(axis=1)] for scores in (other_scores, flagged_scores))
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    axes.plot(fpr, tpr, color=LEAK, linewidth=1.6, clip_on=False)
    axes.set(xlabel=f"share of {others_name}", ylabel="share of flagged", xlim=(0, 1), ylim=(0, 1))
    axes.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda share, _: percent(share)))
