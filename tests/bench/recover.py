"""`make bench-recover`: audits without training images held against the truth, and captions known in part."""

from __future__ import annotations

import argparse
from pathlib import Path

from flashbulb.audit.model.loading import flushed_denormals
from tests.bench.audited import audit_blind, judge_run
from tests.bench.models import FIRST, folder_of
from tests.bench.outcomes import open_bench
from tests.bench.partial import CASES, HEADER, partial_captions


def main() -> None:
    """Print what the ladder recovers on each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-recover"))
    parser.add_argument("--part", choices=("audits", "partial", "all"), default="all")
    parser.add_argument("--captions", type=int, help="of each case of captions known in part; all by default")
    parser.add_argument("models", nargs="*", default=FIRST)
    arguments = parser.parse_args()
    for name in arguments.models:
        if arguments.part != "partial":
            audit_blind(folder_of(name), arguments.work / name)
            print(judge_run(folder_of(name), arguments.work / name), flush=True)
        if arguments.part != "audits":
            print(f"{name}\n{HEADER}")
            bench = open_bench(folder_of(name))
            for how, n in CASES:
                with flushed_denormals():
                    print(
                        partial_captions(bench, how, n, arguments.captions).line(f"{how} {n or ''}".strip()), flush=True
                    )


if __name__ == "__main__":
    main()
