"""An edited power is refused: readers compute it again from the counts and tables."""

from pathlib import Path
from typing import Any

import pytest

from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.tables.files import RunIncompleteError
from tests.audit.commands import edit_run_json
from tests.reports.run_files import seal_again
from tests.reports.runs import LEAKS, write_example

EDITS: dict[tuple[str, ...], Any] = {
    ("max_share",): 0.0001,
    ("max_missed",): 0,
    ("n_untried",): 7,
    ("n_samples",): 64,
    ("max_seed_probability",): 0.046,
    ("unknown_because",): "nothing",
    ("unsupported",): [],
    ("sensitivity",): None,
    ("sensitivity", "at_least"): 1.0,
    ("sensitivity", "source"): "canaries",
    ("sensitivity", "found", "n"): 242,
    ("sensitivity", "by_model"): {},
    ("false_finds", "high"): 0.01,
    ("flags",): [],
}


@pytest.mark.parametrize("keys", EDITS)
def test_an_edited_power_is_refused(tmp_path: Path, keys: tuple[str, ...]) -> None:
    run = write_example(tmp_path / "run", LEAKS, n_false=1)
    load_checked(run)
    edit_run_json(run, "power", *keys, value=EDITS[keys])
    with pytest.raises(RunIncompleteError, match=f"power whose {keys[0]} is"):
        load_checked(run)


def test_a_run_without_power_is_refused(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run")
    edit_run_json(run, "power", value=None)
    with pytest.raises(RunIncompleteError, match="power"):
        load_checked(run)


def test_the_last_digits_of_a_bound_may_differ_between_machines(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run")
    bound = load_checked(run).record.power
    assert bound is not None
    assert bound.max_share is not None
    edit_run_json(run, "power", "max_share", value=bound.max_share * (1 + 1e-9))
    seal_again(run)
    load_checked(run)
