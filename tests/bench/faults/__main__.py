"""`make bench-faults`: kinds of damage and what comes of each, as one Markdown page and every trial as JSON."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # processes that are forked import this file again, and must not wait for the libraries
    from tests.bench.faults.toys import Toys
    from tests.bench.faults.trials import Trial


def main() -> None:
    """Run the chosen sections, print what goes wrong as it happens, and write the page."""
    from tests.bench.faults.page import page, with_rows, with_sections
    from tests.bench.faults.sections import SECTIONS
    from tests.bench.faults.toys import build_toys
    from tests.bench.faults.trials import problems_of, read_trials, write_trials

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SECTIONS), help="a section; repeat for more")
    parser.add_argument("--command", action="append", help="of --only kills or disk: a command; repeat for more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path("docs/faults.md"), help="page of all sections; chosen ones replace their own"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("runs/faults/trials.json"), help="every trial, sections of earlier calls kept"
    )
    parser.add_argument("--work", type=Path, help="folder to keep; by default one that is deleted")
    arguments = parser.parse_args()
    chosen, trials = arguments.only or list(SECTIONS), read_trials(arguments.json)
    if arguments.command and set(chosen) - {"kills", "disk"}:
        parser.error("--command goes with --only kills or --only disk")
    with tempfile.TemporaryDirectory() as kept:
        work = (arguments.work or Path(kept)).resolve()
        toys = build_toys(work / "toys")
        for name in chosen:
            section = partial(SECTIONS[name], names=arguments.command) if arguments.command else SECTIONS[name]
            others = [trial for trial in trials if trial.section != name]
            for new in _shown(name, section, toys, work / name, arguments.seed):
                trials = sorted([*others, *new], key=lambda trial: list(SECTIONS).index(trial.section))
                write_trials(trials, arguments.json)
    if arguments.command:
        text = with_rows(arguments.out.read_text(encoding="utf-8"), [t for t in trials if t.section in chosen])
        arguments.out.write_text(text, encoding="utf-8")
    elif {trial.section for trial in trials} == SECTIONS.keys():
        arguments.out.write_text(page(trials), encoding="utf-8")
    elif arguments.out.is_file():  # other sections were tried elsewhere
        text = with_sections(arguments.out.read_text(encoding="utf-8"), [t for t in trials if t.section in chosen])
        arguments.out.write_text(text, encoding="utf-8")
    print(page([trial for trial in trials if trial.section in chosen]))
    raise SystemExit(1 if problems_of(trial for trial in trials if trial.section in chosen) else 0)


def _shown(
    name: str, section: Callable[[Toys, Path, int], Iterator[Trial]], toys: Toys, work: Path, seed: int
) -> Iterator[list[Trial]]:
    """Run one section, print its problems, and yield its trials so far every few seconds and at its end."""
    trials, started = [], time.perf_counter()
    reported = started
    for trial in section(toys, work, seed):
        trials.append(trial)
        if trial.problem is not None:
            print(f"{name}: {trial.kind}: {trial.tried}: {trial.problem}", flush=True)
        if time.perf_counter() - reported > 10:
            reported = time.perf_counter()
            print(f"{name}: {len(trials)} tried in {reported - started:.0f} s", flush=True)
            yield trials
    n_problems = sum(trial.problem is not None for trial in trials)
    print(f"{name}: {len(trials)} tried, {n_problems} problems, {time.perf_counter() - started:.0f} s", flush=True)
    yield trials


if __name__ == "__main__":
    main()
