"""A file gets a second name, or a whole copy; of several processes the first one decides, with links and without."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from flashbulb.reports.tables.files import link_first, link_whole

N = 8


@pytest.fixture(params=["links", "no links"])
def has_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system has hard links; FAT answers with EPERM."""
    if request.param == "no links":
        monkeypatch.setattr(os, "link", _refuse)
    return bool(request.param == "links")


def _refuse(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def written(folder: Path, name: str) -> Path:
    (folder / name).write_text(name)
    return folder / name


def test_the_second_name_holds_the_same_and_nothing_else_is_left(tmp_path: Path, has_links: bool) -> None:
    source, target = written(tmp_path, "source"), written(tmp_path, "target")
    link_whole(source, target)
    assert target.read_text() == "source"
    assert target.samefile(source) == has_links
    assert set(tmp_path.iterdir()) == {source, target}


def test_a_name_that_exists_is_not_given_again(tmp_path: Path, has_links: bool) -> None:
    sources = [written(tmp_path, name) for name in ("first", "second")]
    assert [link_first(source, tmp_path / "target") for source in sources] == [True, False]
    assert (tmp_path / "target").read_text() == "first"


def test_of_several_at_once_one_is_first_and_all_read_its_file(tmp_path: Path, has_links: bool) -> None:
    barrier, target = Barrier(N), tmp_path / "target"

    def give(name: str) -> tuple[bool, str]:
        source = written(tmp_path, name)
        barrier.wait()
        return link_first(source, target), target.read_text()

    with ThreadPoolExecutor(N) as pool:
        given = list(pool.map(give, map(str, range(N))))
    (first,) = (str(number) for number, (was_given, _) in enumerate(given) if was_given)
    assert {read for _, read in given} == {first}


@pytest.mark.parametrize("link", [link_whole, link_first])
def test_a_file_that_is_missing_leaves_no_name(
    tmp_path: Path, has_links: bool, link: Callable[[Path, Path], object]
) -> None:
    with pytest.raises(FileNotFoundError):
        link(tmp_path / "nothing", tmp_path / "target")
    assert not list(tmp_path.iterdir())
