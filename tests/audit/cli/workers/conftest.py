"""A run recorded by one process, and the same in parts."""

from pathlib import Path

import pytest

from tests.audit.commands import digests, run_flashbulb, run_json
from tests.audit.conftest import recording

SHARDS = ("--shard-size", "2")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def recorded(run: Path) -> dict[str, str]:
    """Return the hashes of all that was recorded, but for the file that says how long it took."""
    return {name: digest for name, digest in digests(run / "activations").items() if name != "recording.json"}


def without_times(run: Path) -> dict[str, object]:
    """Return run.json without seconds and without what differs by intention: the folder and the workers."""
    content = run_json(run)
    settings = {name: value for name, value in content["settings"].items() if name not in ("out", "workers")}
    return {**content, "timings": None, "settings": settings}


@pytest.fixture(scope="session")
def whole(inputs, tmp_path_factory) -> Path:
    """The recording of one process. Read-only."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert run_flashbulb("record", *recording(inputs, run, *SHARDS)).code == 0
    return run


def batch_size(run: Path) -> object:
    return run_json(run)["settings"]["batch_size"]
