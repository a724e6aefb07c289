"""No reader follows a path of a table out of the run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flashbulb.reports.page.thumbnails import thumbnail
from tests.audit.commands import Answer, error_line, run_flashbulb
from tests.reports.pages import rewrite_table, save_image, write_illustrated
from tests.reports.runs import PROMPTS
from tests.reports.spoilers import with_value

READERS: dict[str, Callable[[Path, Path], Answer]] = {
    "gate": lambda run, _: run_flashbulb("gate", run),
    "report": lambda run, out: run_flashbulb("report", run, "--out", out / "page.html"),
    "show": lambda run, _: run_flashbulb("show", run, PROMPTS[0]),
    "diff": lambda run, _: run_flashbulb("diff", run, run),
    "localize": lambda run, _: run_flashbulb("localize", run),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit with images. Read-only."""
    return write_illustrated(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def edit(run: Path, name: str, column: str, value: object, row: int = 0) -> None:
    table = pq.read_table(run / name)
    rewrite_table(run, name, with_value(column, value, row)(table).cast(table.schema))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("column", ["image_path", "mask_path"])
@pytest.mark.parametrize("path", ["../outside.png", "/etc/passwd", "images/../../outside.png", "x\x00.png"])
def test_a_path_out_of_the_run_is_refused(run: Path, tmp_path: Path, reader: str, column: str, path: str) -> None:
    save_image(tmp_path / "outside.png", 7)
    edit(run, "recoveries.parquet", column, path)
    line = error_line(READERS[reader](run, tmp_path), 3)
    assert "recoveries.parquet: the path " in line
    assert repr(path)[1:-1] in line
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("reader", READERS)
def test_a_folder_of_images_that_is_a_link_is_refused(run: Path, tmp_path: Path, reader: str) -> None:
    shutil.move(run / "images", tmp_path / "elsewhere")
    (run / "images").symlink_to(tmp_path / "elsewhere")
    assert "leads out of the run directory" in error_line(READERS[reader](run, tmp_path), 3)


def test_a_sample_that_is_a_link_out_of_the_run_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "images" / "p2" / "seed-1.png").unlink()
    (run / "images" / "p2" / "seed-1.png").symlink_to(save_image(tmp_path / "outside.png", 7))
    assert "images/p2/seed-1.png is a link or no file" in error_line(READERS["report"](run, tmp_path), 3)


@pytest.mark.parametrize("name", ["../p0", "..", "/etc", "a b", "", "p0/x", "p\x00"])
@pytest.mark.parametrize("reader", READERS)
def test_an_id_that_could_be_a_path_is_refused(run: Path, tmp_path: Path, reader: str, name: str) -> None:
    edit(run, "scores.parquet", "prompt_id", name, row=15)
    assert f"{name!r} is no id of a prompt or finding" in error_line(READERS[reader](run, tmp_path), 3)


@pytest.mark.parametrize("reader", ["gate", "report", "show"])
def test_an_id_of_a_finding_that_could_be_a_path_is_refused(run: Path, tmp_path: Path, reader: str) -> None:
    ids = pq.read_table(run / "recoveries.parquet")["finding_id"].to_pylist()
    row = next(i for i, name in enumerate(ids) if name is not None)
    edit(run, "recoveries.parquet", "finding_id", "../../etc", row=row)
    assert "'../../etc' is no id" in error_line(READERS[reader](run, tmp_path), 3)


def test_a_file_beside_the_training_images_is_not_shown(run: Path, tmp_path: Path) -> None:
    outside = save_image(tmp_path / "private.png", 7)
    edit(run, "recoveries.parquet", "nearest_image", str(outside), row=1)
    edit(run, "memories.parquet", "nearest_image", str(outside), row=0)
    assert READERS["report"](run, tmp_path).code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    private = thumbnail(outside, "shown")
    assert private is not None
    assert private not in page
    assert thumbnail(run / "images" / "p0" / "seed-0.png", "shown") in page  # type: ignore[operator]
