"""The figure of neurons that spike together: the largest groups, as bars in a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from reports.drawing import FAINT, INK, LEAK, MUTED
from reports.rates import counted, percent
from reports.svg import FONT, WIDTH, svg_text, unit_axes, unit_figure, write
from reports.text import fitted_text

MAX_GROUPS = 15
_HEAD, _ROW, _FOOT = 32.0, 17.0, 24.0
_MARGIN, _BARS, _LONGEST = 4.0, 114.0, 106.0
_NEURONS, _PICTURES, _UNFLAGGED = 102.0, 300.0, WIDTH - 4.0  # right ends of the columns


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group of `neuron_groups.parquet`.

    Args:
        n_prompts: flagged prompts of the group.
        n_findings: distinct findings among them; None if unknown.
        unflagged_share: share of unflagged prompts that show the group, 0 to 1; None if none were looked at.
    """

    group_id: str
    n_neurons: int
    n_prompts: int
    n_findings: int | None
    unflagged_share: float | None


def neuron_groups(groups: Sequence[GroupRow]) -> str:
    """Draw the first 15 groups as SVG, in the order given: a row each, a bar of its prompts, coloured by findings."""
    if not groups:
        raise ValueError("no group of neurons to draw; an audit without groups has no such figure")
    shown = groups[:MAX_GROUPS]
    height = _HEAD + _ROW * len(shown) + _FOOT
    figure = unit_figure(height, arranged=False)
    axes = unit_axes(figure)
    write(axes, "group", (_MARGIN, 12), color=MUTED)
    write(axes, "neurons", (_NEURONS, 12), color=MUTED, ha="right")
    write(axes, "flagged prompts", (_BARS, 12), color=MUTED)
    write(axes, "pictures", (_PICTURES, 12), color=MUTED, ha="right")
    write(axes, "in unflagged", (_UNFLAGGED, 12), color=MUTED, ha="right")
    axes.plot([_MARGIN, _UNFLAGGED], [24, 24], color=FAINT, linewidth=0.8)
    most = max(1, *(group.n_prompts for group in shown))
    for row, group in enumerate(shown):
        _draw_row(axes, group, _HEAD + _ROW * (row + 0.5) - 4, _LONGEST * group.n_prompts / most)
    write(axes, "speaks for one picture", (_MARGIN, height - 10), color=LEAK)
    rest = f" · {counted(len(groups) - len(shown), 'more group')} not shown" if len(groups) > len(shown) else ""
    write(axes, f"for several, or unknown{rest}", (_BARS, height - 10), color=MUTED)
    n_one = sum(group.n_findings == 1 for group in shown)
    alt = f"{counted(len(shown), 'group')} of neurons that spike together; {n_one} of them for one picture."
    return svg_text(figure, name="neuron-groups", alt=alt)


def _draw_row(axes: Axes, group: GroupRow, y: float, length: float) -> None:
    color = LEAK if group.n_findings == 1 else MUTED
    axes.barh(y, length, left=_BARS, height=10, color=color, alpha=0.75)
    write(axes, fitted_text(group.group_id, 10), (_MARGIN, y), size=FONT)
    write(axes, f"{group.n_neurons:,}", (_NEURONS, y), size=FONT, ha="right")
    write(axes, f"{group.n_prompts:,}", (_BARS + length + 4, y), color=color, size=FONT)
    write(axes, "–" if group.n_findings is None else f"{group.n_findings:,}", (_PICTURES, y), size=FONT, ha="right")
    share = "–" if group.unflagged_share is None else percent(group.unflagged_share)
    write(axes, share, (_UNFLAGGED, y), size=FONT, ha="right", color=INK)
