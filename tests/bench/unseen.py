"""`python -m tests.bench.unseen`: what a discovery says is left to find, beside what it then finds."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flashbulb.audit.discover.search import Search
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.loading import flushed_denormals
from flashbulb.audit.recover.verify import Looked, Verifier
from flashbulb.audit.stages.discover import search_plan, search_verify_plan
from flashbulb.reports.bounds.unseen import Unseen
from tests.bench.models import ALL, folder_of
from tests.bench.outcomes import SEARCH, Bench, open_bench

AHEAD = 3
"""Rounds after an estimate that it is held against."""


class Round(NamedTuple):
    """The end of a round: the estimate, and by the truth, memorized images found so far and shown in this round."""

    evaluations: int
    unseen: Unseen | None
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
        names = [self.bench.truth.shown(one.images) for one in looked]
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
        rounds.append(Round(state.evaluations, state.finds.unseen(), found, tuple(watching.shown)))
    return rounds


def main() -> None:
    """Print the estimate at every third round, and the share of new images among the memorized ones shown next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gazette", choices=ALL)
    parser.add_argument("--budget", type=int, default=80_000)
    arguments = parser.parse_args()
    with flushed_denormals():
        rounds = search_rounds(open_bench(folder_of(arguments.model)), arguments.budget)
    print(
        f"{arguments.model}\n| UE | estimate | of the next starts that show a memorized image, of one not found yet |"
    )
    print("| --- | --- | --- |")
    for i in range(AHEAD - 1, len(rounds) - 1, AHEAD):
        now, ahead = rounds[i], [name for later in rounds[i + 1 : i + 1 + AHEAD] for name in later.shown]
        if now.unseen is not None and ahead:
            left = now.unseen
            n_new = sum(name not in now.found for name in ahead)
            estimate = f"{left.share:.0%} ({left.low:.0%} to {left.high:.0%})"
            print(f"| {now.evaluations:,} | {estimate} | {n_new} of {len(ahead)}, {n_new / len(ahead):.0%} |")


if __name__ == "__main__":
    main()
