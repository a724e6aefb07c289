"""What the command sets up before it imports the libraries."""

import os
import subprocess
import sys

import pytest

from flashbulb.audit import __main__ as entry

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("given", "used"), [(None, ("PASSIVE", "1000")), ("ACTIVE", ("ACTIVE", None)), ("PASSIVE", ("PASSIVE", None))]
)
def test_threads_that_wait_leave_the_processor_unless_they_are_told_otherwise(monkeypatch, given, used):
    """Two threads of torch beside other work take many times the processor of one thread, if they spin."""
    for name, value in zip(WAITING, (given, None), strict=True):
        monkeypatch.setenv(name, value or "")  # so that what the command sets is taken back
        if value is None:
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["flashbulb", "--version"])
    monkeypatch.setattr(entry, "_survive_exits_of_libraries", lambda codes: None)  # it would end this process
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 0
    assert tuple(map(os.environ.get, WAITING)) == used


IMPORTS = """
import gc, sys
from flashbulb.audit import __main__ as entry
sys.argv = ["flashbulb", "--version"]
entry._run()
import flashbulb.audit.stages.audit
print(gc.get_stats()[2]["collections"])
"""


def test_imports_of_libraries_wait_for_no_full_collection_of_garbage():
    """Nine of them took a sixth of what a small audit computes."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) <= 1
