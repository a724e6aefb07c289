"""The table of `make bench-memories`: distinct images, precision and false recovery, case by case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.bench.memories.audited import Audited, Case, Result
from tests.bench.memories.one_finding import one_finding
from tests.bench.memories.shown import Shown, count, every_finding, rate

PLAIN, MORE = Case(4, 4), Case(16, 16)
CASES = (PLAIN, MORE, Case(4, 8), Case(4, 16))
"""Four and sixteen seeds of every prompt, and budgets that cost as much as eight and sixteen at most."""

HEADER = [
    *("model", "samples of a prompt", "training images", "rule", "UE (thousands)"),
    *("distinct: confirmed", "with likely", "confirmed: right", "with likely: right"),
    *("controls confirmed", "false", "controls with likely", "false"),
]


def table(audited: Audited, results: Sequence[Result]) -> list[list[str]]:
    """Return the rows of a model."""
    rows = []
    for result in results:
        given = "given" if result.is_given else "none"
        for rule, shown in _rules(result):
            cost = f"{result.evaluations / 1000:.0f}"
            rows.append([audited.name, result.case.name, given, rule, cost, *_cells(shown, audited)])
    return rows


def _rules(result: Result) -> Iterator[tuple[str, list[Shown]]]:
    if result.case.n_samples == result.case.mean_samples:
        yield "one finding a prompt", list(one_finding(result))
    yield "every sample", list(every_finding(result.recovered))


def _cells(shown: list[Shown], audited: Audited) -> Iterator[str]:
    confirmed, both = (count(shown, audited.trained_on, v) for v in (("confirmed",), ("confirmed", "likely")))
    n_controls = len(audited.chosen.controls)
    yield from (str(len(confirmed.distinct)), str(len(both.distinct)), confirmed.precision, both.precision)
    for counts in (confirmed, both):
        yield str(counts.true_controls + counts.false_controls)
        yield rate(counts.false_controls, n_controls)
