"""Probabilities per sample that an audit states, held against the truth by other seeds of the same captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import fisher_exact

from flashbulb.reports.bounds.replication import Replication, replication_of
from flashbulb.reports.views.markdown_parts import table
from tests.bench.memories.audited import Audited, Result
from tests.bench.memories.shown import rate

Truth = Mapping[str, tuple[int, int]]
"""Of each planted caption: of so many seeds of the truth (the second), so many show its image."""

_LEVEL = 0.05
DRAWS = (4, 16, 32)

HEADER = [
    *("samples of a prompt", "training images", "captions", "p stated, mean", "truth, mean"),
    *("interval holds the truth's p", "counts differ (Fisher, 5 %)", "width of the interval, median"),
]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an audit states of a caption's own image, and the truth: of so many other seeds, so many show it."""

    stated: Replication
    hits: int
    seeds: int

    @property
    def truth(self) -> float:
        """The share of the truth's seeds."""
        return self.hits / self.seeds

    @property
    def differs(self) -> bool:
        """Whether the two counts are unlikely to come from one probability."""
        stated = self.stated
        table = [[stated.hits, stated.samples - stated.hits], [self.hits, self.seeds - self.hits]]
        return bool(fisher_exact(table).pvalue < _LEVEL)


def estimates(audited: Audited, result: Result, truth: Truth) -> list[Estimate]:
    """Return an estimate for each flagged planted caption.

    With training images, a caption none of whose samples copies its image counts with no hits. Without, only captions
    count whose own image is found.
    """
    found = []
    for prompt in result.recovered:
        text = audited.prompts[prompt.position].text
        own = audited.trained_on.own.get(text)
        if own is None or prompt.is_control:
            continue
        hits = [m.hits for m in prompt.memories if audited.trained_on.shown(m.image) == own]
        if result.is_given and not hits:
            hits = [0]
        n_samples = len(result.samples[prompt.position].images)
        found += [Estimate(replication_of(n, n_samples), *truth[text]) for n in hits[:1]]
    return found


def probabilities(audited: Audited, results: Sequence[Result], truth: Truth) -> Iterator[str]:
    """Yield the tables as lines of Markdown: intervals against the truth, and extraction in n samples."""
    rows = []
    for result in results:
        found = estimates(audited, result, truth)
        n, given = len(found), "given" if result.is_given else "none"
        if n == 0:
            continue
        rows.append(
            [
                *(result.case.name, given, str(n)),
                *(
                    f"{np.mean([e.stated.share for e in found]):.3f}",
                    f"{np.mean([e.truth for e in found]):.3f}",
                ),
                rate(sum(e.stated.low <= e.truth <= e.stated.high for e in found), n),
                rate(sum(e.differs for e in found), n),
                f"{np.median([e.stated.high - e.stated.low for e in found]):.2f}",
            ]
        )
    yield from (*table(HEADER, rows), "")
    yield from _extraction(audited, [result for result in results if result.is_given], truth)


def _extraction(audited: Audited, results: Sequence[Result], truth: Truth) -> Iterator[str]:
    """Yield how many captions give their image at least once in n samples, by the truth and by the p of each case."""
    by_case = {result.case.name: estimates(audited, result, truth) for result in results}
    rows = []
    for n in DRAWS:
        predicted = [f"{_expected([e.stated.share for e in es], n):.1f}" for es in by_case.values()]
        by_truth = _expected([e.truth for e in next(iter(by_case.values()))], n)
        rows.append([str(n), f"{by_truth:.1f}", *predicted])
    yield from table(["samples", "by the truth's p", *(f"by p of {name}" for name in by_case)], rows)
    for name, found in by_case.items():
        yield f"{name}: {sum(e.stated.hits > 0 for e in found)} of {len(found)} gave their image at least once."


def _expected(p: Sequence[float], n: int) -> float:
    return float(sum(1 - (1 - probability) ** n for probability in p))
