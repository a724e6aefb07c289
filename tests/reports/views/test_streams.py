"""A standard stream that cannot be written any more fails no run, and the log says so once."""

import os
from pathlib import Path

import pytest

from flashbulb.reports.views.streams import LastingStream

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_said_once_and_the_stream_can_be_closed(caplog: pytest.LogCaptureFixture) -> None:
    with FULL.open("w") as full:
        stream = LastingStream(full)
        for _ in range(3):
            assert stream.write("found") == 5
            stream.flush()
    assert len(caplog.messages) == 1
    assert "No space left on device" in caplog.text


def test_a_closed_pipe_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        stream = LastingStream(pipe)
        stream.write("found")
        stream.flush()
    assert not caplog.messages


def test_what_can_be_written_is(tmp_path: Path) -> None:
    with (tmp_path / "out.txt").open("w") as file:
        stream = LastingStream(file)
        stream.write("found")
        stream.flush()
        assert stream.isatty() is False
    assert (tmp_path / "out.txt").read_text() == "found"
