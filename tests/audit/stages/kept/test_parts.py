"""The first of many processes merges their parts when all are recorded and nobody holds one any longer."""

from pathlib import Path
from threading import Event, Thread

import pytest

from flashbulb.audit.execute.coordinator import WorkersLost
from flashbulb.audit.record.sets import Part
from flashbulb.audit.run.lock import hold_directory
from flashbulb.audit.stages.kept import parts
from flashbulb.audit.stages.kept.parts import part_folder, wait_for_parts
from flashbulb.audit.stages.kept.recorded import ACTIVATIONS, RECORDING_FILE


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of which both parts say that they are recorded."""
    monkeypatch.setattr(parts, "_SECONDS_BETWEEN_LOOKS", 0.01)
    for number in (1, 2):
        file = part_folder(tmp_path / "run", Part(number, 2)) / ACTIVATIONS / RECORDING_FILE
        file.parent.mkdir(parents=True)
        file.touch()
    return tmp_path / "run"


def test_parts_that_nobody_holds_are_not_waited_for(recorded):
    wait_for_parts(recorded, 2, timeout=0)


def test_a_part_is_waited_for_until_its_process_has_left_it(recorded):
    waited = Event()

    def wait() -> None:
        wait_for_parts(recorded, 2, timeout=60)
        waited.set()

    waiting = Thread(target=wait)
    with hold_directory(part_folder(recorded, Part(2, 2))):
        waiting.start()
        assert not waited.wait(0.2)
    assert waited.wait(30)
    waiting.join()


def test_a_part_that_is_held_for_ever_is_given_up(recorded):
    held = part_folder(recorded, Part(2, 2))
    with (
        hold_directory(held),
        pytest.raises(WorkersLost, match=f"^{held} and 0 others of 2 show no progress for 0.1 s"),
    ):
        wait_for_parts(recorded, 2, timeout=0.1)


def test_a_job_that_was_suspended_waits_on_for_parts(recorded, monkeypatch):
    """A scheduler that suspends a job stops all of its processes, for hours, and its clock goes on."""
    file = part_folder(recorded, Part(2, 2)) / ACTIVATIONS / RECORDING_FILE
    file.unlink()
    now = [0.0]

    def sleep(_: float) -> None:
        now[0] += 10_000.0
        if now[0] > 20_000.0:
            file.touch()

    monkeypatch.setattr(parts.time, "sleep", sleep)
    monkeypatch.setattr(parts.time, "monotonic", lambda: now[0])
    wait_for_parts(recorded, 2, timeout=60)
    assert now[0] == 30_000.0
