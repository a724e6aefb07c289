"""What the start of a command costs: the modules it loads, and its CPU time.

Seconds depend on the processor, so the time is divided by that of importing what every command needs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from tests.paths import ROOT

MODEL_LIBRARIES = ("torch", "diffusers", "transformers", "nnsight", "sklearn", "scipy")
SLOW_TO_IMPORT = {*MODEL_LIBRARIES, "pandas", "matplotlib", "PIL", "skimage", "duckdb", "polars"}
FAST = 3  # times the CPU time of `IMPORTS`, interpreter included; every command takes 1.7 to 2.5 times
N_RUNS = 5  # the fastest counts: others share the processor

IMPORTS = "import pyarrow.parquet, pydantic, rich.console, typer"
MEASURED = """
import sys, time
blocked, arguments = sys.argv[1].split(","), sys.argv[2:]
for name in blocked:
    sys.modules[name] = None
sys.argv = ["flashbulb", *arguments]
from flashbulb.audit.__main__ import main
try:
    main()
except SystemExit as end:
    loaded = " ".join(sorted({name.partition(".")[0] for name, module in sys.modules.items() if module}))
    print(f"{end.code or 0}\\n{time.process_time()}\\n{loaded}", file=sys.stderr)
"""
LOADED = """
import json, sys
from flashbulb.audit.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["flashbulb", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


class Started(NamedTuple):
    """A command that ran where no model library is installed: exit code, CPU seconds, loaded top-level modules."""

    code: int
    seconds: float
    loaded: set[str]


def measure(*arguments: object) -> Started:
    """Run a command without the model libraries."""
    done = _run(MEASURED, ",".join(MODEL_LIBRARIES), *map(str, arguments))
    *_, code, seconds, loaded = done.stderr.splitlines()
    return Started(int(code), float(seconds), set(loaded.split()))


def loaded_by(*commands: Sequence[str]) -> set[str]:
    """Return the top-level modules that are loaded after commands, which succeed, have run in one process."""
    done = _run(LOADED, json.dumps(commands))
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def measure_fast(*arguments: object) -> tuple[Started, float]:
    """Run a command until it is fast, at most `N_RUNS` times.

    Returns:
        the last run, and its CPU time divided by that of `IMPORTS`.
    """
    imported = import_seconds()
    for _ in range(N_RUNS):
        started = measure(*arguments)
        if started.seconds < FAST * imported:
            break
        imported = max(imported, import_seconds.__wrapped__())  # the processor may be slower now
    return started, started.seconds / imported


@cache
def import_seconds() -> float:
    """CPU seconds of `IMPORTS`."""
    return float(_run(f"{IMPORTS}; import time; print(time.process_time())").stdout)


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
    words = [sys.executable, "-c", code, *arguments]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
