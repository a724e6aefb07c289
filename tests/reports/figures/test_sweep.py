"""The figure of a sweep is drawn for any curves, and marks the first failing checkpoint."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashbulb.reports.figures.sweep import sweep_figure, write_sweep_figure
from flashbulb.reports.tables.sweep import SweepRow
from tests.reports.sweeps import ONSET, sweep_of, sweep_row


@pytest.mark.parametrize(
    "rows",
    [
        ONSET.rows,
        [sweep_row(1)],
        [sweep_row(0), sweep_row(10**11)],
        [sweep_row(step, excess=None) for step in (1, 2)],
        [sweep_row(1, excess=None), sweep_row(2)],
        [sweep_row(step, 1000, 10**6, "fail", (1e9, 1e9)) for step in range(40)],
        [sweep_row(1, 0, 0, "untrusted", (0, 0), "$x^2$ <b> \u202e \x00 狐" * 40)],
    ],
)
def test_any_sweep_is_drawn(rows: Sequence[SweepRow], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_sweep_figure(sweep_of(rows), tmp_path / "sweep.png")
    with Image.open(tmp_path / "sweep.png") as image:
        assert np.asarray(image.convert("RGB"), dtype=np.float64).std() > 10


def test_ticks_lie_at_round_steps() -> None:
    steps = sweep_figure(sweep_of([sweep_row(step) for step in (100, 200, 300)])).axes[-1].get_xticks()
    assert {100, 200, 300} <= set(steps)


def test_the_first_failing_checkpoint_is_marked_in_every_panel() -> None:
    panels = sweep_figure(ONSET).axes
    assert len(panels) == 3
    for axes in panels:
        assert [100, 100] in [list(line.get_xdata()) for line in axes.lines]
    assert "first failure: checkpoint-100" in [text.get_text() for text in panels[0].texts]
    assert not [
        t for axes in sweep_figure(sweep_of(ONSET.rows[:2])).axes for t in axes.texts if "first" in t.get_text()
    ]


@pytest.mark.parametrize(("steps", "scale"), [(range(500, 10_500, 500), "linear"), ((10, 20, 40, 80, 700), "log")])
def test_steps_that_grow_by_factors_are_spread_out(steps: Sequence[int], scale: str) -> None:
    assert sweep_figure(sweep_of([sweep_row(step) for step in steps])).axes[-1].get_xscale() == scale
