"""The figure of neurons that spike together: a table of the largest groups, with bars."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from flashbulb.reports.bounds.rates import count_text, percent
from flashbulb.reports.drawings.svg import FONT, WIDTH, draw_text, svg_text, unit_axes, unit_figure
from flashbulb.reports.figures.drawing import FAINT, INK, LEAK, MUTED
from flashbulb.reports.views.text import fitted_text

MAX_GROUPS = 15
_HEAD, _ROW, _FOOT = 32.0, 17.0, 24.0
_MARGIN, _BARS, _LONGEST = 4.0, 114.0, 106.0
_NEURONS, _IMAGES, _UNFLAGGED = 102.0, 300.0, WIDTH - 4.0  # right ends of the columns


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group of `neuron_groups.parquet`.

    Args:
        n_prompts: flagged prompts in which the group spikes.
        n_findings: distinct images that they lead to; None if unknown.
        unflagged_share: share of unflagged prompts in which the group spikes, 0 to 1; None if none were checked.
    """

    group_id: str
    n_neurons: int
    n_prompts: int
    n_findings: int | None
    unflagged_share: float | None


def neuron_groups(groups: Sequence[GroupRow]) -> str:
    """Draw the first 15 groups as SVG, a row each, with a bar for its prompts.

    A bar is highlighted if its prompts lead to one image.

    Raises:
        ValueError: there is no group.
    """
    if not groups:
        raise ValueError("no group of neurons to draw; an audit without groups has no such figure")
    shown = groups[:MAX_GROUPS]
    height = _HEAD + _ROW * len(shown) + _FOOT
    figure = unit_figure(height, auto_layout=False)
    axes = unit_axes(figure)
    draw_text(axes, "group", (_MARGIN, 12), color=MUTED)
    draw_text(axes, "neurons", (_NEURONS, 12), color=MUTED, ha="right")
    draw_text(axes, "flagged prompts", (_BARS, 12), color=MUTED)
    draw_text(axes, "images", (_IMAGES, 12), color=MUTED, ha="right")
    draw_text(axes, "in unflagged", (_UNFLAGGED, 12), color=MUTED, ha="right")
    axes.plot([_MARGIN, _UNFLAGGED], [24, 24], color=FAINT, linewidth=0.8)
    max_prompts = max(1, *(group.n_prompts for group in shown))
    for row, group in enumerate(shown):
        _draw_row(axes, group, _HEAD + _ROW * (row + 0.5) - 4, _LONGEST * group.n_prompts / max_prompts)
    draw_text(axes, "leads to one image", (_MARGIN, height - 10), color=LEAK)
    rest = f" · {count_text(len(groups) - len(shown), 'more group')} not shown" if len(groups) > len(shown) else ""
    draw_text(axes, f"to several images, or unknown{rest}", (_BARS, height - 10), color=MUTED)
    n_single = sum(group.n_findings == 1 for group in shown)
    alt = f"{count_text(len(shown), 'group')} of neurons that spike together; {n_single} of them for one image."
    return svg_text(figure, name="neuron-groups", alt=alt)


def _draw_row(axes: Axes, group: GroupRow, y: float, length: float) -> None:
    color = LEAK if group.n_findings == 1 else MUTED
    axes.barh(y, length, left=_BARS, height=10, color=color, alpha=0.75)
    draw_text(axes, fitted_text(group.group_id, 10), (_MARGIN, y), size=FONT)
    draw_text(axes, f"{group.n_neurons:,}", (_NEURONS, y), size=FONT, ha="right")
    draw_text(axes, f"{group.n_prompts:,}", (_BARS + length + 4, y), color=color, size=FONT)
    draw_text(axes, "–" if group.n_findings is None else f"{group.n_findings:,}", (_IMAGES, y), size=FONT, ha="right")
    share = "–" if group.unflagged_share is None else percent(group.unflagged_share)
    draw_text(axes, share, (_UNFLAGGED, y), size=FONT, ha="right", color=INK)
