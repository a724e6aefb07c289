"""Commands that judge finished audits start fast, and run without any model library."""

from pathlib import Path

import pytest

from tests.audit.cli.start_costs import FAST, MODEL_LIBRARIES, SLOW_TO_IMPORT, loaded_by, measure, measure_fast
from tests.reports.runs import LEAKS, write_example


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two audits, a policy and a file of waivers. Read-only."""
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
    f"gate {{0}}/new {JUDGING} {OUTPUTS}": 1,
    "gate {0}/new --findings {0}/f.parquet": 1,
    "gate {0}/nowhere": 2,
}
OTHERS = (
    "diff {0}/old {0}/new",
    "waivers check {0}/waivers.toml --run {0}/new",
    "show {0}/new p0 --json",
    f"waivers add {{0}}/added.toml 0123456789abcdef {ADDED}",
    *(f"{command} --help" for command in ("diff", "waivers", "waivers check", "waivers add", "report", "show")),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_judging_commands_need_no_model_library_and_start_fast(folder: Path, command: str) -> None:
    (code, _, loaded), ratio = measure_fast(*command.format(folder).split())
    assert code == COMMANDS[command]
    assert not loaded & SLOW_TO_IMPORT
    assert ratio < FAST


def test_other_judging_commands_load_nothing_slow(folder: Path) -> None:
    """One process runs them all: a command that loads nothing slow starts as fast as the gate."""
    assert not loaded_by(*(command.format(folder).split() for command in OTHERS)) & SLOW_TO_IMPORT


def test_report_figures_need_neither_model_libraries_nor_pandas(folder: Path) -> None:
    """The figures need matplotlib, whose import takes most of the time."""
    code, _, loaded = measure("report", folder / "new")
    assert code == 0
    assert "matplotlib" in loaded
    assert not loaded & {*MODEL_LIBRARIES, "pandas", "duckdb", "polars"}
    assert (folder / "new" / "report.html").is_file()
