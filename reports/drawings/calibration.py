"""The calibration figure: do nominal false-positive rates hold on held-out reference prompts?"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from flashbulb.reports.bounds.rates import count_text, exact_interval, percent, rate_of
from flashbulb.reports.drawings.svg import Vector, draw_text, style_axes, svg_text, unit_figure
from flashbulb.reports.figures.drawing import CALM, GREEN, GRID, INK, LEAK, MUTED, OCHRE, VIOLET
from flashbulb.reports.views.text import fitted_text

STYLE_COLORS = (CALM, LEAK, GREEN, VIOLET, OCHRE)
"""Colours of the first five styles. Further styles are only counted, and are part of the line over all."""
_N_POINTS = 161
_DASHES = (0, (4, 3))
_LINE = 12.0
_MARK = 0.6  # height of the dashed line, a share of the axis that leaves room for the names of the lines


def calibration(p_values: Mapping[str, Sequence[float]], fpr: float) -> str:
    """Draw observed against nominal false-positive rates of held-out reference prompts as SVG, on logarithmic axes.

    The band is the exact 95 % interval of the rate observed over all styles. The dashed line marks the audit's rate.

    Args:
        p_values: of held-out reference prompts, 0 to 1, by style. One line is drawn over all styles, and one per style
            if there are several. A style without prompts is left out.
        fpr: the audit's false-positive rate.

    Raises:
        ValueError: there is no p-value, or one is not between 0 and 1.
    """
    by_style = {style: np.asarray(values, dtype=np.float64) for style, values in p_values.items() if len(values)}
    pooled = np.concatenate([*by_style.values(), np.empty(0)])
    if not len(pooled):
        raise ValueError("no held-out reference prompt; without a reference there is no calibration to draw")
    if not ((pooled >= 0) & (pooled <= 1)).all():
        raise ValueError("p-values must lie between 0 and 1; one does not")
    figure = unit_figure(300, auto_layout=True)
    axes = figure.add_subplot()
    start = min(fpr / 4, 1 / len(pooled))
    nominal = np.geomspace(start, 1, _N_POINTS)
    _style(axes, start, fpr)
    _draw_band(axes, pooled, nominal)
    lines = [("all", pooled, INK)]
    if len(by_style) > 1:
        lines += [(style, by_style[style], color) for style, color in zip(by_style, STYLE_COLORS, strict=False)]
    for row, (name, values, color) in enumerate(lines):
        _draw_line(axes, values, nominal, color, 2.0 if row == 0 else 1.2)
        label = f"{fitted_text(name, 24)} ({count_text(len(values), 'prompt')})"
        draw_text(axes, label, (0, 1), (6, -8 - _LINE * row), coords="axes fraction", color=color)
    if n_more := max(0, len(by_style) - len(STYLE_COLORS)):
        text = f"{count_text(n_more, 'more style')} not drawn"
        draw_text(axes, text, (0, 1), (6, -8 - _LINE * len(lines)), coords="axes fraction")
    text = _draw_rate(axes, pooled, fpr)
    alt = f"Observed against nominal false-positive rate of {count_text(len(pooled), 'held-out reference prompt')}"
    return svg_text(figure, name="calibration", alt=f"{alt}; at the nominal {percent(fpr)}: {text}.")


def _draw_rate(axes: Axes, pooled: Vector, fpr: float) -> str:
    """Draw the rate observed at the nominal rate `fpr` in the lower right corner, and return its text."""
    rate = rate_of(int((pooled <= fpr).sum()), len(pooled))
    text = f"{percent(rate.share)} ({100 * rate.low:.3g} to {percent(rate.high)})"
    draw_text(axes, f"at the nominal {percent(fpr)}", (1, 0), (-4, 8 + _LINE), coords="axes fraction", ha="right")
    draw_text(axes, text, (1, 0), (-4, 8), coords="axes fraction", ha="right")
    return text


def _observed(p_values: Vector, nominal: Vector) -> npt.NDArray[np.int64]:
    """Count the p-values up to each nominal rate."""
    return np.searchsorted(np.sort(p_values), nominal, side="right")


def _draw_band(axes: Axes, pooled: Vector, nominal: Vector) -> None:
    bounds = [exact_interval(int(n), len(pooled)) for n in _observed(pooled, nominal)]
    low, high = zip(*bounds, strict=True)
    axes.fill_between(nominal, low, high, step="post", color=INK, alpha=0.12, linewidth=0)


def _draw_line(axes: Axes, p_values: Vector, nominal: Vector, color: str, width: float) -> None:
    """Draw the rate from the first nominal rate at which it is not zero, which a logarithmic axis cannot show."""
    n_observed = _observed(p_values, nominal)
    is_positive = n_observed > 0
    rates = n_observed[is_positive] / len(p_values)
    axes.step(nominal[is_positive], rates, where="post", color=color, linewidth=width)


def _style(axes: Axes, start: float, fpr: float) -> None:
    style_axes(axes)
    axes.set(xscale="log", yscale="log", xlim=(start, 1), ylim=(start, 1))
    ticks = [tick for tick in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0) if tick >= start]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda rate, _: percent(rate)))
    axes.grid(color=GRID, linewidth=0.8)
    axes.plot([start, 1], [start, 1], color=MUTED, linestyle=":", linewidth=1)
    axes.axvline(fpr, ymax=_MARK, color=INK, linestyle=_DASHES, linewidth=1)
    axes.set_xlabel("nominal false-positive rate (p-value)")
    axes.set_ylabel("observed false-positive rate")
