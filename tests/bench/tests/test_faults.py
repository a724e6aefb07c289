"""The bench of faults, shortened, finds nothing; and its instruments do what they say."""

import re
from pathlib import Path

import pytest

from tests.bench.faults.injection import FULL, Plan
from tests.bench.faults.page import page, with_rows, with_sections
from tests.bench.faults.runs import run
from tests.bench.faults.sections import SHORT
from tests.bench.faults.toys import Toys, build_toys
from tests.bench.faults.trials import Trial, problems_of

FEWEST = {"workers": 13, "stores": 6, "readings": 6}
"""Trials of the sections that are shorter than the others."""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    """The inputs of all sections. Read-only."""
    return build_toys(tmp_path_factory.mktemp("toys") / "toys")


def test_a_section_tried_again_replaces_its_own_on_the_page_and_no_other() -> None:
    names = ("kinds", "disk")
    trials = [Trial(name, "a kind", f"try {n}", "0", "0", "lost" if n else None) for name in names for n in range(3)]
    written = page(trials)
    assert sorted(with_sections(written, trials[:3]).splitlines()) == sorted(written.splitlines())
    assert with_sections(written, trials[3:4]) == page(trials[:4])
    assert with_sections(page(trials[:1]), trials[3:4]) == page([trials[0], trials[3]])
    added = [Trial("kills", "a kind", "try", "0", "0")]
    assert with_sections(written, added) == page([*trials[:3], *added, *trials[3:]])


def test_a_command_tried_again_replaces_its_own_rows_and_no_other() -> None:
    kept = [Trial("kills", "gate", f"try {n}", "0", "0") for n in range(3)]
    others = [Trial("disk", "gate", "try", "0", "0")]
    again = [Trial("kills", "pull", f"try {n}", "0", "0", "lost" if n else None) for n in range(2)]
    before = page([*kept, Trial("kills", "pull", "try", "0", "2", "lost before"), *others])
    assert with_rows(before, again) == page([*kept, *again, *others])
    assert with_rows(page([*kept, *others]), again) == page([*kept, *again, *others])


@pytest.mark.slow
@pytest.mark.parametrize("section", SHORT)
def test_no_fault_loses_passes_or_runs_anything(toys: Toys, tmp_path: Path, section: str) -> None:
    trials = list(SHORT[section](toys, tmp_path / section, 0))
    assert len(trials) >= FEWEST.get(section, 50)
    assert problems_of(trials) == []


@pytest.mark.slow
def test_a_fault_happens_at_its_event_and_events_repeat(toys: Toys, tmp_path: Path) -> None:
    logs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        plan = Plan(str(tmp_path / name), log=str(tmp_path / f"{name}.log"))
        assert run(plan, ("index", toys.training, "out")).code == 0
        log = (tmp_path / f"{name}.log").read_text().replace(f"/{name}/", "/")
        logs.append(re.sub(r"\.[0-9a-f]{8}\.", ".", log))  # the names of files that are not complete are drawn
    assert logs[0] == logs[1]
    for fault, code in (("SIGKILL", -9), (FULL, 2)):
        folder = tmp_path / fault
        folder.mkdir()
        assert run(Plan(str(folder), fault, 0, True), ("index", toys.training, "out")).code == code
        assert not [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
