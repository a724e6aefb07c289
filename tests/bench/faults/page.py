"""The page of all trials: a table of kinds and outcomes for each section, and every problem by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.bench.faults.trials import Trial, problems_of


def page(trials: Sequence[Trial]) -> str:
    """Return the page as Markdown."""
    return "\n".join(_lines(trials)) + "\n"


def _lines(trials: Sequence[Trial]) -> Iterator[str]:
    yield "# Faults, tried"
    yield ""
    for section in dict.fromkeys(trial.section for trial in trials):
        yield from _section(section, [trial for trial in trials if trial.section == section])
    if problems := problems_of(trials):
        yield from ("## Problems", "")
        for trial in problems:
            yield f"- {trial.section}, {trial.kind}: {trial.tried}: {trial.problem}"


def _section(name: str, trials: Sequence[Trial]) -> Iterator[str]:
    yield from (
        f"## {name}",
        "",
        "| kind | tried | problems | expected | observed |",
        "| --- | --- | --- | --- | --- |",
    )
    for kind in dict.fromkeys(trial.kind for trial in trials):
        rows = [trial for trial in trials if trial.kind == kind]
        expected = "; ".join(dict.fromkeys(trial.expected for trial in rows))
        codes = Counter(trial.observed.partition(":")[0] for trial in rows)
        observed = ", ".join(f"{code} ({n})" if n > 1 else code for code, n in codes.most_common(6))
        yield f"| {kind} | {len(rows)} | {len(problems_of(rows))} | {expected} | {observed} |"
    yield ""
