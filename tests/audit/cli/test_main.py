"""What the command sets up before it imports the libraries."""

import os
import sys

import pytest

from flashbulb.audit import __main__ as entry


@pytest.mark.parametrize(("given", "used"), [("", "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_leave_the_processor_unless_they_are_told_otherwise(monkeypatch, given, used):
    """Two threads of torch beside other work take many times the processor of one thread, if they spin."""
    monkeypatch.setenv("OMP_WAIT_POLICY", given)
    if not given:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(sys, "argv", ["flashbulb", "--version"])
    monkeypatch.setattr(entry, "_survive_exits_of_libraries", lambda codes: None)  # it would end this process
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 0
    assert os.environ["OMP_WAIT_POLICY"] == used
