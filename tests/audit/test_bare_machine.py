"""Commands that judge what is there start fast, and run where no model library is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.audit.commands import ROOT
from tests.reports.runs import LEAKS, write_example

MODEL_LIBRARIES = ("torch", "diffusers", "transformers", "nnsight", "sklearn", "scipy")
SLOW_TO_IMPORT = {*MODEL_LIBRARIES, "pandas", "matplotlib", "PIL", "skimage", "duckdb", "polars"}
N_RUNS = 5
MAX_SECONDS = 0.7  # of CPU, start of the interpreter included: the fastest of `N_RUNS`
MEASURED = """
import sys, time
blocked, arguments = sys.argv[1].split(","), sys.argv[2:]
for name in blocked:
    sys.modules[name] = None
sys.argv = ["engram", *arguments]
from audit.__main__ import main
try:
    main()
except SystemExit as end:
    loaded = " ".join(sorted({name.partition(".")[0] for name, module in sys.modules.items() if module}))
    print(f"{end.code or 0}\\n{time.process_time()}\\n{loaded}", file=sys.stderr)
"""


def measured(*arguments: object) -> tuple[int, float, set[str]]:
    """Exit code, CPU seconds, and the top-level modules loaded, of a command without the model libraries."""
    words = [sys.executable, "-c", MEASURED, ",".join(MODEL_LIBRARIES), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    *_, code, seconds, loaded = done.stderr.splitlines()
    return int(code), float(seconds), set(loaded.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two audits, a policy and a file of waivers."""
    folder = tmp_path_factory.mktemp("bare")
    write_example(folder / "old")
    write_example(folder / "new", LEAKS)
    (folder / "policy.toml").write_text("max_high = 0\n", encoding="utf-8")
    waiver = 'fingerprint = "0123456789abcdef"\nreason = "r"\nowner = "o"\nexpires = 2099-01-01\n'
    (folder / "waivers.toml").write_text(f"[[waiver]]\n{waiver}", encoding="utf-8")
    return folder


OUTPUTS = "--summary {0}/s.md --junit {0}/j.xml --sarif {0}/s.sarif --findings {0}/f.jsonl --model-card {0}/c.md"
JUDGING = "--policy {0}/policy.toml --waivers {0}/waivers.toml --baseline {0}/old --new-only"
ADDED = "--reason r --owner o --expires 2099-01-01"
COMMANDS = {
    "gate --help": 0,
    "gate {0}/new": 1,
    f"gate {{0}}/new {JUDGING}": 1,
    f"gate {{0}}/new {OUTPUTS}": 1,
    "gate {0}/new --findings {0}/f.parquet": 1,
    "gate {0}/nowhere": 2,
    "diff --help": 0,
    "diff {0}/old {0}/new": 0,
    "waivers --help": 0,
    "waivers check --help": 0,
    "waivers check {0}/waivers.toml --run {0}/new": 0,
    "waivers add --help": 0,
    "report --help": 0,
    "show --help": 0,
    "show {0}/new p0 --json": 0,
    "show {0}/new nobody": 2,
    f"waivers add {{0}}/added.toml 0123456789abcdef {ADDED}": 0,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_only_judges_needs_no_model_library_and_starts_fast(folder: Path, command: str) -> None:
    seconds = []
    for _ in range(N_RUNS):
        (folder / "added.toml").unlink(missing_ok=True)
        code, spent, loaded = measured(*command.format(folder).split())
        assert code == COMMANDS[command]
        assert not loaded & SLOW_TO_IMPORT
        seconds.append(spent)
        if spent < MAX_SECONDS:
            break
    assert min(seconds) < MAX_SECONDS


def test_the_page_is_written_without_the_model_libraries(folder: Path) -> None:
    code, _, loaded = measured("report", folder / "new", "--out", folder / "page.html")
    assert code == 0
    assert not loaded & set(MODEL_LIBRARIES)


def test_a_page_is_drawn_without_the_model_libraries_and_without_pandas(folder: Path) -> None:
    """Its figures need matplotlib, which takes most of the time that the imports take."""
    code, _, loaded = measured("report", folder / "new")
    assert code == 0
    assert "matplotlib" in loaded
    assert not loaded & {*MODEL_LIBRARIES, "pandas", "duckdb", "polars"}
    assert (folder / "new" / "report.html").is_file()
