"""`python -m tests.bench.unseen`: what a discovery says is left to find, beside what it then finds."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flashbulb.audit.discover.search import Search
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.verify import Looked, Verifier
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.stages.discover import search_plan, search_verify_plan
from flashbulb.reports.bounds.unseen import Unseen, estimate_unseen
from tests.bench.models import ALL, folder_of
from tests.bench.outcomes import SEARCH, Bench, open_bench

AHEAD = 3
"""Rounds after an estimate that it is held against."""


class Round(NamedTuple):
    """The end of a round: the estimate, findings and finds so far, and by the truth memorized images found and shown.

    Args:
        found: memorized images with a finding.
        shown: memorized images that starts of this round show.
    """

    evaluations: int
    unseen: Unseen | None
    n_findings: int
    n_finds: int
    found: frozenset[str]
    shown: tuple[str, ...]


class _Watching(Verifier):
    """Keeps which memorized image each start shows, whatever the verdict will be."""

    bench: Bench
    shown: list[str]

    def look(
        self, conditioning: Conditioning, keys: Sequence[str], is_known: Callable[[RgbImages], bool] | None = None
    ) -> list[Looked]:
        looked = super().look(conditioning, keys, is_known)
        names = [self.bench.truth.shown(look.images) for look in looked]
        self.shown = [name for name in names if name in self.bench.truth.memorized]
        return looked


def search_rounds(bench: Bench, budget: int) -> list[Round]:
    """Search a planted model as `flashbulb discover` does."""
    watching = _Watching(bench.denoiser, search_verify_plan(SEARCH))
    watching.bench = bench
    search = Search(bench.denoiser, bench.columns, watching, None, (), search_plan(SEARCH))
    state, rounds = search.begin(), list[Round]()
    found: frozenset[str] = frozenset()
    for new in search.rounds(state, budget):
        found |= {bench.truth.shown(discovery.images) for discovery in new} & bench.truth.memorized
        times = state.times_found
        shown = tuple(watching.shown)
        rounds.append(Round(state.evaluations, estimate_unseen(times), len(times), sum(times), found, shown))
    return rounds


def main() -> None:
    """Print the estimate at every third round, and what the next three bring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gazette", choices=ALL)
    parser.add_argument("--budget", type=int, default=80_000)
    arguments = parser.parse_args()
    with computing():
        rounds = search_rounds(open_bench(folder_of(arguments.model)), arguments.budget)
    print(f"{arguments.model}\n| UE | estimate | new of the next finds | new of the memorized images shown next |")
    print("| --- | --- | --- | --- |")
    for now, then in zip(rounds[AHEAD - 1 :: AHEAD], rounds[2 * AHEAD - 1 :: AHEAD], strict=False):
        left, first = now.unseen, rounds.index(now) + 1
        if left is not None:
            shown = [name for later in rounds[first : first + AHEAD] for name in later.shown]
            n_new = sum(name not in now.found for name in shown)
            estimate = f"{left.share:.0%} ({left.low:.0%} to {left.high:.0%})"
            finds = f"{then.n_findings - now.n_findings} of {then.n_finds - now.n_finds}"
            print(f"| {now.evaluations:,} | {estimate} | {finds} | {n_new} of {len(shown)} |")


if __name__ == "__main__":
    main()
