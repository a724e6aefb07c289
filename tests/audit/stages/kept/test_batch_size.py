"""Parts of a recording agree on the batch size of the first of them, wherever they run."""

from pathlib import Path

import pytest

from flashbulb.audit.run.directory import RunDirectoryError
from flashbulb.audit.stages.kept import batch_size
from flashbulb.audit.stages.kept.batch_size import agreed_batch_size
from flashbulb.reports.tables.files import link_first

IDENTITY = {"model_fingerprint": "abc"}


def test_processes_of_the_same_number_on_two_machines_agree(tmp_path, monkeypatch):
    """Containers number their processes from 1, and so do the parts of a job in them."""
    of_second = list[int]()

    def begin_second(source: Path, target: Path) -> bool:
        monkeypatch.setattr(batch_size, "link_first", link_first)
        of_second.append(agreed_batch_size(tmp_path, IDENTITY, 8))
        return link_first(source, target)

    monkeypatch.setattr("os.getpid", lambda: 1)
    monkeypatch.setattr(batch_size, "link_first", begin_second)
    assert agreed_batch_size(tmp_path, IDENTITY, 32) == 8
    assert of_second == [8]
    assert [path.name for path in tmp_path.iterdir()] == ["batch_size.json"]


def test_a_folder_of_another_recording_is_refused(tmp_path):
    assert agreed_batch_size(tmp_path, IDENTITY, 32) == 32
    with pytest.raises(RunDirectoryError, match="holds parts of another recording"):
        agreed_batch_size(tmp_path, {"model_fingerprint": "other"}, 32)
