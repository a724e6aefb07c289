"""The trend names every run in its description, and one run has none."""

import pytest

from flashbulb.reports.drawings.trend import TrendPoint, trend_curve

POINTS = [TrendPoint(f"run <{n}>", f"2026-01-0{n}", n, n + 1) for n in range(1, 9)]


def test_the_curve_names_every_run_and_shows_the_day_of_the_last() -> None:
    svg = trend_curve(POINTS, name="t")
    assert all(f"run &lt;{n}&gt; {n}" in svg for n in range(1, 9))
    assert "2026-01-08" in svg
    assert trend_curve(POINTS, name="t") == svg


def test_one_run_has_no_trend() -> None:
    with pytest.raises(ValueError, match="give at least two"):
        trend_curve(POINTS[:1], name="t")
