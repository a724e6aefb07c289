"""The picture of `make bench-speed`: ratios beside their goals, and cost and memory as the set of prompts grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

STAGES = {"record": "#0072b2", "detect": "#d55e00", "recover": "#009e73", "report": "#cc79a7", "gate": "#7f7f7f"}


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw what was measured; parts that were not are left out."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    if not found.get("growth"):
        _draw_ratios(figure.subplots(), found["ratios"])
    else:
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.35))
        _draw_ratios(above.subplots(), found.get("ratios", ()))
        time, memory = below.subplots(1, 2)
        rows = [row for row in found["growth"] if row["tier"] == 0]
        _draw_growth(time, rows, "CPU ms a prompt, tier 0", lambda row: 1e3 * row["cpu_s"] / row["prompts"])
        _draw_growth(memory, rows, "peak memory, MiB, tier 0", lambda row: row["peak_mib"])
        time.set_yscale("log")
        time.legend(frameon=False, fontsize=8)
        memory.set_ylim(bottom=0)
    figure.savefig(path, dpi=120)


def _draw_ratios(axes: Axes, ratios: Sequence[Mapping[str, Any]]) -> None:
    positions = range(len(ratios))
    for position, row in enumerate(ratios):
        colour = "#009e73" if row["is_met"] else "#d55e00"
        axes.plot([row["low"], row["high"]], [position] * 2, color=colour, linewidth=2)
        axes.plot([row["value"]], [position], "o", color=colour)
    axes.set_yticks(positions, [row["name"] for row in ratios], fontsize=8)
    for position, row in zip(positions, ratios, strict=True):
        axes.plot([row["goal"]] * 2, [position - 0.45, position + 0.45], color="black", linewidth=1.5)
        axes.annotate(
            f"{row['value']:.2f}",
            (max(row["high"], row["goal"]), position),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(0.2, 90)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title(
        "ratio: median, least and greatest of the turns (black: goal; green: reached)", fontsize=9, loc="left"
    )
    axes.spines[["top", "right"]].set_visible(False)


def _draw_growth(axes: Axes, rows: Sequence[Mapping[str, Any]], title: str, value: Any) -> None:
    for stage, colour in STAGES.items():
        stage_rows = [row for row in rows if row["stage"] == stage]
        axes.plot(
            [r["prompts"] for r in stage_rows],
            [value(r) for r in stage_rows],
            "o-",
            color=colour,
            label=stage,
            markersize=4,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    axes.set_xlabel("prompts", fontsize=8)
    axes.set_title(title, fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
