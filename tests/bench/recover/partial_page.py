"""Tables of what the ladder brings out of captions known in part, of weak memories, and of clean captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from flashbulb.reports.bounds.rates import exact_interval, percent
from flashbulb.reports.views.markdown_parts import table
from tests.bench.recover.attempted import LEAST, Tried, within
from tests.bench.recover.partial import BUDGET, CASES, CLEAN, WEAK, Measured

RUNGS = {
    "sample-0": "four seeds",
    "few_steps-0": "few steps",
    "few_steps-1": "shortened",
    "ascend-0": "first ascent",
    "ascend-1": "second",
    "ascend-2": "third",
    "ascend-3": "fourth",
    "ascend_shortened-0": "from shortened",
    "cyclic-0": "cyclic",
}


def page(measured: Sequence[Measured]) -> Iterator[str]:
    """Yield all tables as lines of Markdown."""
    models = list(dict.fromkeys(case.model for case in measured))
    changed, weak, clean = (
        [case for case in measured if case.case in cases] for cases in (tuple(CASES), (WEAK,), (CLEAN,))
    )
    if changed:
        yield from _changed(changed, models)
        yield from _ablation("What each attempt gives, all changes together", changed, models)
    if weak:
        yield from _weak(weak, models)
        yield from _ablation(f"What each attempt gives, captions with {WEAK}", weak, models)
    if clean:
        yield from _clean(clean, models)


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return [f"### {title}", "", *table(header, [[*map(str, row)] for row in rows]), ""]


def _rungs(measured: Sequence[Measured]) -> list[str]:
    """Return the names of the attempts, which are the same for all captions."""
    return [RUNGS[attempt.name] for attempt in measured[0].tried[0]]


def _n_out(rows: Sequence[Sequence[Tried]]) -> int:
    return sum(any(attempt.is_out for attempt in row) for row in rows)


def _n_sampled(measured: Sequence[Measured], budget: int | None = None) -> int:
    return sum(hits >= LEAST for case in measured for hits in case.sampled(budget))


def _named(measured: Sequence[Measured], choose: Callable[[Tried, str], bool], budget: int | None = None) -> int:
    """Count captions with an attempt that has a verdict and is of the chosen kind, within a budget in UE or any."""
    pairs = [pair for case in measured for pair in zip(case.tried, case.names, strict=True)]
    paid = [(row if budget is None else list(within(row, budget)), name) for row, name in pairs]
    return sum(any(attempt.verdict != "not_shown" and choose(attempt, name) for attempt in row) for row, name in paid)


def _ratio(a: int, b: int) -> str:
    return f"{a / b:.2f}" if b else "-"


def _changed(measured: Sequence[Measured], models: Sequence[str]) -> Iterator[str]:
    header = ["model", "change", "captions", "sampling at equal UE", *_rungs(measured), "ladder / sampling"]
    header += ["own image has a verdict", "another's", "none's", "UE at most"]
    rows = []
    for model in models:
        own = [case for case in measured if case.model == model]
        for case in own:
            rows.append([model, case.case, *_counts([case])])
        if own:
            rows.append([f"**{model}**", "all", *_counts(own)])
    yield from _table("Captions known in part: images out after each attempt", header, rows)


def _counts(measured: Sequence[Measured]) -> list[object]:
    tried = list(chain.from_iterable(case.tried for case in measured))
    sampled = _n_sampled(measured)
    after = [_n_out([row[: i + 1] for row in tried]) for i in range(len(tried[0]))]
    own = _named(measured, lambda attempt, name: attempt.named == name)
    other = _named(measured, lambda attempt, name: attempt.named not in (name, None))
    nones = _named(measured, lambda attempt, _: attempt.named is None)
    most = max(sum(attempt.evaluations for attempt in row) for row in tried)
    return [len(tried), sampled, *after, _ratio(after[-1], sampled), own, other, nones, most]


def _ablation(title: str, measured: Sequence[Measured], models: Sequence[str]) -> Iterator[str]:
    header = ["attempt", "UE at most", *(f"{model}: alone, only by it" for model in models)]
    by_model = {m: list(chain.from_iterable(o.tried for o in measured if o.model == m)) for m in models}
    rows = []
    for i, rung in enumerate(_rungs(measured)):
        most = max(row[i].evaluations for rows_of in by_model.values() for row in rows_of)
        cells = [
            f"{_n_out([row[i : i + 1] for row in of])}, {_n_out(of) - _n_out([row[:i] + row[i + 1 :] for row in of])}"
            for of in by_model.values()
        ]
        rows.append([rung, most, *cells])
    yield from _table(title, header, rows)


def _weak(measured: Sequence[Measured], models: Sequence[str]) -> Iterator[str]:
    header = ["model", "captions", f"sampling, {BUDGET} UE", f"ladder, {BUDGET} UE", "ladder / sampling"]
    header += ["at least one sample: sampling", "ladder", "own image has a verdict", "another's", "none's"]
    rows = []
    for model in [*models, "all"]:
        chosen = [case for case in measured if model in (case.model, "all")]
        tried = [list(within(row, BUDGET)) for case in chosen for row in case.tried]
        sampled, out = _n_sampled(chosen, BUDGET), _n_out(tried)
        by_one = sum(hits > 0 for case in chosen for hits in case.sampled(BUDGET))
        once = [by_one, sum(any(any(attempt.shows) for attempt in row) for row in tried)]
        own = _named(chosen, lambda attempt, name: attempt.named == name, BUDGET)
        other = _named(chosen, lambda attempt, name: attempt.named not in (name, None), BUDGET)
        nones = _named(chosen, lambda attempt, _: attempt.named is None, BUDGET)
        seeds = len({case.seed for case in chosen})
        n = f"{len(tried) // max(1, seeds)} by {seeds} run seeds"
        rows.append(
            [
                model,
                n,
                _share(sampled, len(tried)),
                _share(out, len(tried)),
                _ratio(out, sampled),
                *once,
                own,
                other,
                nones,
            ]
        )
    yield from _table("Captions with p < 1/8", header, rows)


def _share(n: int, of: int) -> str:
    low, high = exact_interval(n, of)
    return f"{n} of {of} ({percent(low)} to {percent(high)})"


def _clean(measured: Sequence[Measured], models: Sequence[str]) -> Iterator[str]:
    header = ["model", "false recovery: image that is none", "a planted image has a verdict"]
    header += [f"planted image comes out: {name}" for name in _rungs(measured)]
    rows = []
    for model in [*models, "all"]:
        chosen = [case for case in measured if model in (case.model, "all")]
        tried = [row for case in chosen for row in case.tried]
        false = _named(chosen, lambda attempt, _: attempt.named is None)
        planted = _named(chosen, lambda attempt, _: attempt.named is not None)
        shown = [sum(row[i].named is not None for row in tried) for i, _ in enumerate(_rungs(measured))]
        rows.append([model, _share(false, len(tried)), planted, *shown])
    yield from _table("Clean captions", header, rows)
