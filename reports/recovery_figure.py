"""The figure of recovery: how many prompts gave a picture, over what was spent on each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.drawing import CALM, GRID, LEAK, MUTED
from reports.rates import Rate, percent, rate_of
from reports.svg import FONT, style_axes, svg_text, unit_figure, write
from reports.text import fitted_text

_MARKERS = {"o": "●", "^": "▲", "s": "■", "D": "◆"}
_PLAIN = "sample"
_LINE = 14.0


@dataclass(frozen=True, slots=True)
class TriedPrompt:
    """One prompt that climbed the ladder.

    Args:
        first_picture: UE spent on this prompt when its picture came, that rung included; None if none came.
        evaluations: UE spent on it in all.
        strategy: what brought the picture; None if none came.
    """

    first_picture: int | None
    evaluations: int
    strategy: str | None
    is_control: bool


class _Look(NamedTuple):
    """How a set of prompts is called and drawn; the thinner line lies on top, so that equal ones show both."""

    name: str
    is_control: bool
    color: str
    width: float


_LOOKS = (_Look("flagged", False, LEAK, 2.6), _Look("controls", True, CALM, 1.3))


def recovery_curves(prompts: Sequence[TriedPrompt]) -> str:
    """Draw the share of prompts that gave a picture over UE spent on each as SVG: flagged ones and controls.

    The axis is logarithmic; marks say which strategy brought a picture where plain samples did not. Prompts that gave
    none count as tried at every UE. The bars at the right are 95 % Wilson intervals of the final rates.
    """
    if not prompts:
        raise ValueError("no prompt was tried; an audit without recovery has no such figure")
    lines = [(look, [p for p in prompts if p.is_control is look.is_control]) for look in _LOOKS]
    lines = [(look, members) for look, members in lines if members]
    strategies = sorted({p.strategy for p in prompts if p.strategy and p.strategy != _PLAIN})
    markers = dict(zip(strategies, _MARKERS, strict=False))
    figure = unit_figure(215 + _LINE * (len(lines) + bool(markers)), arranged=True)
    axes = figure.add_subplot()
    first = [max(1, p.first_picture or p.evaluations) for p in prompts]
    _style(axes, 0.7 * min(first), 1.25 * max(*first, *(p.evaluations for p in prompts)))
    by = ", ".join(f"{_MARKERS[marker]} {fitted_text(strategy, 16)}" for strategy, marker in markers.items())
    words = [(f"by {by}; otherwise by plain samples", MUTED)] if markers else []
    for row, (look, members) in enumerate(lines):
        rate = rate_of(sum(p.first_picture is not None for p in members), len(members))
        _draw_curve(axes, members, look, markers)
        _draw_interval(axes, rate, look.color, 1.02 + 0.03 * row)
        words.insert(row, (f"{look.name}: {_rate(rate)}", look.color))
    for row, (text, color) in enumerate(reversed(words)):
        write(axes, text, (0, 1), (0, 12 + _LINE * row), coords="axes fraction", color=color, size=FONT)
    alt = f"Prompts that gave a picture: {'; '.join(text for text, _ in words[: len(lines)])}."
    return svg_text(figure, name="recovery-curves", alt=alt)


def _draw_curve(axes: Axes, members: Sequence[TriedPrompt], look: _Look, markers: Mapping[str, str]) -> None:
    """Draw the steps, with one mark on top of the pictures that a strategy brought at one place."""
    came = sorted((max(1, p.first_picture), p.strategy or _PLAIN) for p in members if p.first_picture is not None)
    heights = [(rank + 1) / len(members) for rank in range(len(came))]
    start, end = axes.get_xlim()
    ue = [start, *(first for first, _ in came), end]
    axes.step(
        ue, [0, *heights, (heights or [0])[-1]], where="post", color=look.color, linewidth=look.width, clip_on=False
    )
    for (first, strategy), height in dict(zip(came, heights, strict=True)).items():
        if strategy in markers:
            axes.plot(first, height, markers[strategy], color=look.color, markersize=6, clip_on=False)


def _draw_interval(axes: Axes, rate: Rate, color: str, x: float) -> None:
    """Draw a final rate with its interval right of the axes, `x` a fraction of their width."""
    place = axes.get_yaxis_transform()
    axes.plot([x, x], [rate.low, rate.high], color=color, linewidth=1.4, transform=place, clip_on=False)
    axes.plot(x, rate.n / rate.of, "o", color=color, markersize=4, transform=place, clip_on=False)


def _rate(rate: Rate) -> str:
    low, high = f"{100 * rate.low:.3g}", percent(rate.high)
    return f"{rate.n:,} of {rate.of:,} gave a picture, {percent(rate.n / rate.of)} ({low} to {high})"


def _style(axes: Axes, start: float, end: float) -> None:
    style_axes(axes)
    axes.set(xscale="log", xlim=(start, end), ylim=(0, 1))
    ticks = [lead * 10**power for power in range(12) for lead in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if start <= tick <= end]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ue, _: f"{ue:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: percent(share)))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_xlabel("UNet evaluations spent on a prompt")
