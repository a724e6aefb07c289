"""Files that are written together are all there or none is, whenever the process is killed."""

import signal

import pytest

from flashbulb.audit.run.together import together, undo_cut_off
from tests.processes import fork_python

KILLED = """
import os, signal, sys
from pathlib import Path
from flashbulb.audit.run.together import together
folder = Path(sys.argv[1])
with together([folder / name / "x" for name in "abc"]):
    for name in "abc"[:int(sys.argv[2])]:
        (folder / name / "x").write_text("new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    return tmp_path


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("n_written", [0, 1, 3])
def test_what_a_killed_process_wrote_is_undone_and_nothing_else(folder, n_written):
    (folder / "b" / "other").write_text("kept")
    assert fork_python(KILLED, folder, n_written).wait().code == -signal.SIGKILL
    undo_cut_off(folder)
    assert files(folder) == {"b/other": "kept"}


def test_what_was_written_to_the_end_stays_and_leaves_no_list(folder):
    with together([folder / "a" / "x", folder / "b" / "x"]):
        (folder / "a" / "x").write_text("1")
        (folder / "b" / "x").write_text("2")
    undo_cut_off(folder)
    assert files(folder) == {"a/x": "1", "b/x": "2"}


def fill_the_disk(folder):
    with together([folder / "a" / "x", folder / "b" / "x"]):
        (folder / "a" / "x").write_text("1")
        raise OSError("full")


def test_an_error_in_the_block_undoes_it_at_once(folder):
    with pytest.raises(OSError, match="full"):
        fill_the_disk(folder)
    assert files(folder) == {}
