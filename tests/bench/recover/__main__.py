"""`make bench-recover`: audits without training images held against the truth, and captions known in part."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from flashbulb.audit.run.torch_state import computing
from tests.bench.models import ALL, FIRST, folder_of
from tests.bench.outcomes import open_bench
from tests.bench.recover.audited import audit_blind, judge_run
from tests.bench.recover.partial import CASES, CLEAN, STRATEGIES, WEAK, measure, write_rows
from tests.bench.recover.partial_page import page


def main() -> None:
    """Print what the ladder recovers on each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-recover"))
    parser.add_argument("--part", choices=("audits", "partial", "all"), default="all")
    parser.add_argument(
        "--cases", nargs="*", choices=("changed", "weak", "clean"), default=["changed", "weak", "clean"]
    )
    parser.add_argument("--strategies", nargs="*", choices=STRATEGIES, default=STRATEGIES, help="of captions")
    parser.add_argument("--captions", type=int, default=16, help="memorized captions that are changed, of each model")
    parser.add_argument("--clean", type=int, default=100, help="clean captions of each model")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="run seeds of captions with p < 1/8")
    parser.add_argument("--models", nargs="*", choices=tuple(ALL), default=FIRST)
    arguments = parser.parse_args()
    measured = []
    for name in arguments.models:
        if arguments.part != "partial":
            audit_blind(folder_of(name), arguments.work / name)
            print(judge_run(folder_of(name), arguments.work / name), flush=True)
        if arguments.part != "audits":
            bench = open_bench(folder_of(name))
            for case, seed, limit in _cases(arguments):
                with computing():
                    measured.append(measure(bench, name, case, limit, seed, arguments.strategies))
                write_rows(measured, arguments.work / "attempts.parquet")
    if measured:
        print("\n".join(page(measured)))


def _cases(arguments: argparse.Namespace) -> Iterator[tuple[str, int, int | None]]:
    """Yield the chosen cases, each with its run seed and how many captions it takes; None for all."""
    if "changed" in arguments.cases:
        yield from ((case, 0, arguments.captions) for case in CASES)
    if "weak" in arguments.cases:
        yield from ((WEAK, seed, None) for seed in arguments.seeds)
    if "clean" in arguments.cases:
        yield CLEAN, 0, arguments.clean


if __name__ == "__main__":
    main()
