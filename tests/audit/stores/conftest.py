"""An S3 server with one bucket, and machines that share nothing but what they write there."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.services.object_store import S3, s3_server

OnMachine = Callable[[str], AbstractContextManager[Path]]


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as s3:
        yield s3


@pytest.fixture
def s3(server: S3, on_machine: OnMachine) -> Iterator[S3]:
    """The server with an empty bucket; the test is on the machine `here`."""
    server.files.delete_dir_contents("bucket")
    server.app.calls.clear()
    with on_machine("here"):
        yield server
    server.app.fails_every, server.app.on_call, server.app.refuses = 0, lambda call: None, lambda environ: False


@pytest.fixture
def on_machine(tmp_path: Path) -> OnMachine:
    """Return a context in which this process is on the machine of that name, with a cache of its own."""

    @contextmanager
    def on(name: str) -> Iterator[Path]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches" / name))
            yield tmp_path / "caches" / name / "flashbulb" / "stores"

    return on
