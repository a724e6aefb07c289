"""The recovery figure: how many prompts gave an image, over the denoiser evaluations (UE) spent on each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from flashbulb.reports.bounds.rates import Rate, percent, rate_of
from flashbulb.reports.drawings.svg import FONT, draw_text, style_axes, svg_text, unit_figure
from flashbulb.reports.figures.drawing import CALM, GRID, LEAK, MUTED
from flashbulb.reports.views.text import fitted_text

_MARKERS = {"o": "●", "^": "▲", "s": "■", "D": "◆"}
_SAMPLING = "sample"
_LINE = 14.0


@dataclass(frozen=True, slots=True)
class TriedPrompt:
    """One prompt on which recovery was tried.

    Args:
        first_image: UE spent up to and including the first attempt that gave an image; None if none did.
        evaluations: UE spent on all attempts.
        strategy: of the first attempt that gave an image; None if none did.
    """

    first_image: int | None
    evaluations: int
    strategy: str | None
    is_control: bool


class _Look(NamedTuple):
    """How a set of prompts is named and drawn. The thinner line lies on top, so that both show where they are equal."""

    name: str
    is_control: bool
    color: str
    width: float


_LOOKS = (_Look("flagged", False, LEAK, 2.6), _Look("controls", True, CALM, 1.3))


def recovery_curves(prompts: Sequence[TriedPrompt]) -> str:
    """Draw the share of prompts that gave an image over the UE spent on each as SVG, for flagged prompts and controls.

    The axis of UE is logarithmic. Marks name the strategy that gave an image where sampling did not. Prompts that gave
    none count as tried at every UE, and the line ends at the most UE that any of them took. The bars at the right are
    exact 95 % intervals of the final rates.

    Raises:
        ValueError: there is no prompt.
    """
    if not prompts:
        raise ValueError("no prompt was tried; an audit without recovery has no such figure")
    lines = [(look, [p for p in prompts if p.is_control is look.is_control]) for look in _LOOKS]
    lines = [(look, members) for look, members in lines if members]
    strategies = sorted({p.strategy for p in prompts if p.strategy and p.strategy != _SAMPLING})
    markers = dict(zip(strategies, _MARKERS, strict=False))
    figure = unit_figure(215 + _LINE * (len(lines) + bool(markers)), auto_layout=True)
    axes = figure.add_subplot()
    first = [max(1, p.first_image or p.evaluations) for p in prompts]
    _style(axes, 0.7 * min(first), 1.25 * max(*first, *(p.evaluations for p in prompts)))
    legend = ", ".join(f"{_MARKERS[marker]} {fitted_text(strategy, 16)}" for strategy, marker in markers.items())
    notes = [(f"by {legend}; unmarked: by sampling", MUTED)] if markers else []
    for row, (look, members) in enumerate(lines):
        rate = rate_of(sum(p.first_image is not None for p in members), len(members))
        _draw_curve(axes, members, look, markers)
        _draw_interval(axes, rate, look.color, 1.02 + 0.03 * row)
        notes.insert(row, (f"{look.name}: {_rate_text(rate)}", look.color))
    for row, (text, color) in enumerate(reversed(notes)):
        draw_text(axes, text, (0, 1), (0, 12 + _LINE * row), coords="axes fraction", color=color, size=FONT)
    alt = f"Prompts that gave an image: {'; '.join(text for text, _ in notes[: len(lines)])}."
    return svg_text(figure, name="recovery-curves", alt=alt)


def _draw_curve(axes: Axes, members: Sequence[TriedPrompt], look: _Look, markers: Mapping[str, str]) -> None:
    """Draw the steps. Images that a strategy gave at the same UE share one mark, on the highest of them."""
    images = sorted((max(1, p.first_image), p.strategy or _SAMPLING) for p in members if p.first_image is not None)
    heights = [(rank + 1) / len(members) for rank in range(len(images))]
    start, end = axes.get_xlim()
    if any(p.first_image is None for p in members):
        end = max(1, *(p.evaluations for p in members))
    ue = [start, *(first for first, _ in images), end]
    axes.step(
        ue, [0, *heights, (heights or [0])[-1]], where="post", color=look.color, linewidth=look.width, clip_on=False
    )
    for (first, strategy), height in dict(zip(images, heights, strict=True)).items():
        if strategy in markers:
            axes.plot(first, height, markers[strategy], color=look.color, markersize=6, clip_on=False)


def _draw_interval(axes: Axes, rate: Rate, color: str, x: float) -> None:
    """Draw a final rate with its interval to the right of the axes, at `x` times their width."""
    transform = axes.get_yaxis_transform()
    axes.plot([x, x], [rate.low, rate.high], color=color, linewidth=1.4, transform=transform, clip_on=False)
    axes.plot(x, rate.share, "o", color=color, markersize=4, transform=transform, clip_on=False)


def _rate_text(rate: Rate) -> str:
    low, high = f"{100 * rate.low:.3g}", percent(rate.high)
    return f"{rate.n:,} of {rate.of:,} gave an image, {percent(rate.share)} ({low} to {high})"


def _style(axes: Axes, start: float, end: float) -> None:
    style_axes(axes)
    axes.set(xscale="log", xlim=(start, end), ylim=(0, 1))
    ticks = [lead * 10**power for power in range(12) for lead in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if start <= tick <= end]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ue, _: f"{ue:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: percent(share)))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_xlabel("denoiser evaluations spent on a prompt")
