"""The cache stays within its limit: what was used longest ago goes, never what is in use or not sent."""

import os
from pathlib import Path

import pytest

from flashbulb.audit.stores.room import make_room, unsent, use
from flashbulb.reports.tables.stores import StoreError, cache_root, local_path
from tests.audit.commands import refused, run_flashbulb
from tests.processes import fork_python

KIB = 2**10
FETCH = """
import sys
from flashbulb.audit.stores.fetching import fetched
fetched(sys.argv[1])
"""
USED = """
import sys
from pathlib import Path
from flashbulb.audit.stores.room import use
use(Path(sys.argv[1]))
"""
USING = (
    USED
    + """
while Path(sys.argv[1]).exists():
    pass
"""
)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A cache with three places of 100 KiB, the oldest first, and room for 350 KiB."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("FLASHBULB_CACHE_GIB", str(350 * KIB / 2**30))
    for number, name in enumerate("abc"):
        filled(name)
        _used(name, number)
    return cache_root()


def filled(name: str) -> Path:
    path = place(name) / "inner" / "file"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(100 * KIB))
    return path


def place(name: str) -> Path:
    path = local_path(f"s3://bucket/{name}")
    assert path is not None
    return path


def _used(name: str, second: int) -> None:
    """Let a process that has ended have used a place."""
    assert fork_python(USED, place(name)).wait().code == 0
    for note in (cache_root() / ".uses").iterdir():
        if note.name != ".lock" and note.read_text() == place(name).relative_to(cache_root()).as_posix():
            os.utime(note, ns=(second, second))


def left() -> list[str]:
    return [name for name in "abc" if place(name).exists()]


def test_what_was_used_longest_ago_goes_and_no_more_than_needed(cache):
    make_room(40 * KIB)
    assert left() == ["a", "b", "c"]
    make_room(60 * KIB)
    assert left() == ["b", "c"]
    make_room(250 * KIB)
    assert left() == []


def test_what_a_process_uses_and_what_lies_in_or_around_it_stays(cache):
    process = fork_python(USING, place("a") / "inner")
    notes = cache / ".uses"
    while not any(note.read_text().endswith("a/inner") for note in notes.iterdir()):
        process.process.join(timeout=0.01)
    use(place("b"))
    make_room(340 * KIB)
    assert left() == ["a", "b"]
    filled("a").unlink()
    (place("a") / "inner").rmdir()  # ends the process
    assert process.wait().code == 0


def test_a_run_that_was_not_sent_stays_until_it_is(cache):
    with pytest.raises(RuntimeError), unsent(place("a")):
        raise RuntimeError
    make_room(340 * KIB)
    assert left() == ["a"]
    with unsent(place("a")):
        pass
    make_room(340 * KIB)
    assert left() == []


@pytest.mark.parametrize("limit", ["much", "-1", "nan"])
def test_a_limit_that_is_no_number_is_refused(cache, monkeypatch, limit):
    monkeypatch.setenv("FLASHBULB_CACHE_GIB", limit)
    with pytest.raises(StoreError, match=f"FLASHBULB_CACHE_GIB is '{limit}', not a number of GiB"):
        make_room(1)
    with pytest.raises(StoreError, match="not a number of GiB"):
        use(cache)


def test_commands_fetch_within_the_limit(s3, on_machine, tmp_path, monkeypatch):
    monkeypatch.setenv("FLASHBULB_CACHE_GIB", str(150 * KIB / 2**30))
    for name in "abc":
        s3.write(f"{name}/prompts.txt", b"a star\n" + bytes(100 * KIB))
        assert fork_python(FETCH, f"s3://bucket/{name}").wait().code == 0
        assert left() == [name]
    assert "FLASHBULB_CACHE_GIB" not in run_flashbulb("verify", tmp_path).err
    monkeypatch.setenv("FLASHBULB_CACHE_GIB", "much")
    assert "not a number of GiB" in refused("gate", "s3://bucket/a")
