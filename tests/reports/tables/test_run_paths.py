"""A path in a table leads to a place inside the run, or is refused with the names of table and path."""

from pathlib import Path

import pytest

from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.tables.run_paths import path_in_run

OUTSIDE = ("/etc/passwd", "../other/x.png", "images/../../x.png", "images/p0/../../../x", "C:/x.png", "..\\x.png")
OUTSIDE += ("\\\\host\\share\\x.png", "x\x00.png", "link/x.png", "link", "circle/x.png", "chain/x.png")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with links out of it, through another link, and to itself."""
    run = tmp_path / "run"
    (run / "images" / "p0").mkdir(parents=True)
    (run / "link").symlink_to(tmp_path)
    (run / "chain").symlink_to("link")
    (run / "circle").symlink_to("circle")
    (run / "inner").symlink_to("images")
    return run


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_that_leads_out_of_the_run_is_refused(run: Path, name: str) -> None:
    with pytest.raises(RunIncompleteError, match=r"recoveries\.parquet: the path .* leads out of the run") as caught:
        path_in_run(run, "recoveries.parquet", name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["images/p0/seed-0.png", "images", "nowhere/yet.png", "images/a..b.png", "inner/p0"])
def test_a_path_inside_the_run_is_accepted(run: Path, tmp_path: Path, name: str) -> None:
    assert path_in_run(run, "recoveries.parquet", name) == run / name
    (tmp_path / "alias").symlink_to(run)
    assert path_in_run(tmp_path / "alias", "recoveries.parquet", name) == tmp_path / "alias" / name
