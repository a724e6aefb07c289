"""One process holds a directory; the lock ends with its process, and what is written is as private as the directory."""

import errno
import fcntl
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flashbulb.audit.run import lock
from flashbulb.audit.run.lock import DirectoryHeldError, check_free, hold_directory
from flashbulb.reports.tables.files import LOCK_FILE

HOLDER = """
import sys, time
from pathlib import Path
from flashbulb.audit.run.lock import hold_directory
with hold_directory(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the directory."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def test_a_second_process_is_refused_by_the_name_of_the_first(tmp_path, holder):
    with pytest.raises(DirectoryHeldError, match=rf"{re.escape(str(tmp_path))} is held by process {holder.pid} on "):
        hold_directory(tmp_path).__enter__()
    with pytest.raises(DirectoryHeldError, match=f"process {holder.pid}"):
        check_free(tmp_path)


def test_a_process_that_looks_whether_a_directory_is_held_keeps_nobody_out(tmp_path, monkeypatch):
    looking = (tmp_path / LOCK_FILE).open("w+b")
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(lock.time, "sleep", lambda _: looking.close())
    with hold_directory(tmp_path):
        assert looking.closed


def test_a_killed_process_holds_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert names(tmp_path) == [LOCK_FILE]
    with hold_directory(tmp_path):
        assert names(tmp_path) == [LOCK_FILE]
    assert names(tmp_path) == []


def test_nothing_is_left_behind_and_it_can_be_held_again(tmp_path):
    for _ in range(2):
        with hold_directory(tmp_path):
            check_free(tmp_path.parent)
        assert names(tmp_path) == []
    check_free(tmp_path)


def test_what_killed_writers_left_is_deleted_by_the_next_holder(tmp_path):
    (tmp_path / "deep").mkdir()
    left = [tmp_path / "a.json.12ab.part", tmp_path / "deep" / "b.parquet.part"]
    for path in left:
        path.write_text("torn")
    with hold_directory(tmp_path):
        assert not any(path.exists() for path in left)


@pytest.mark.parametrize(("mode", "umask"), [(0o700, 0o022), (0o750, 0o022), (0o755, 0o022), (0o755, 0o077)])
def test_what_is_written_gives_no_rights_that_directory_and_umask_refuse(tmp_path, mode, umask):
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(mode)
    before = os.umask(umask)
    try:
        with hold_directory(folder):
            (folder / "inner").mkdir()
            (folder / "inner" / "file").touch()
        assert modes(folder) == {"inner": mode & ~umask, "file": 0o666 & mode & ~umask}
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_FILE).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"):
        hold_directory(tmp_path / "run").__enter__()
    assert names(tmp_path) == ["run"]


def test_a_file_system_without_locks_holds_nothing(tmp_path, monkeypatch):
    """A lock file that a killed process left there cannot be asked, and refuses no later process."""
    (tmp_path / LOCK_FILE).touch()

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    check_free(tmp_path)
    with hold_directory(tmp_path):
        check_free(tmp_path)
