"""Count what `recoveries.parquet` says: a prompt has one row a rung it tried, a search without a prompt has its own."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from reports.schema import RECOVERY_STRATEGIES, RECOVERY_VERDICTS

_Row = Mapping[str, Any]
_COLUMNS = ("finding_id", "prompt_id", "is_control", "strategy", "evaluations", "verdict")


@dataclass(frozen=True, slots=True)
class RecoveryCounts:
    """What recovery brought, as `run.json` states it; the fields are those of `Counts`."""

    n_confirmed_pictures: int
    n_recovered: int
    n_controls: int
    n_false_recoveries: int
    recovered_by: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StrategyCount:
    """One strategy: tries and successes of flagged prompts and searches, and of controls; UE of all of them."""

    strategy: str
    n_tried: int
    n_shown: int
    n_controls: int
    n_false: int
    evaluations: int


@dataclass(frozen=True, slots=True)
class BestRung:
    """The best outcome of one prompt, and the first strategy that reached it."""

    verdict: str
    strategy: str

    def __str__(self) -> str:
        verdict = self.verdict.replace("_", " ")
        return verdict if self.verdict == "not_shown" else f"{verdict} ({self.strategy})"


def recovery_counts(recoveries: pa.Table) -> RecoveryCounts:
    """Count prompts, controls and pictures, each once however many rungs it took.

    `recovered_by` has an entry for every strategy that was tried on something other than a control: distinct prompts,
    or findings where there is no prompt, by the strategy of their first row that shows a picture.
    """
    rows = recoveries.select(_COLUMNS).to_pylist()
    tried = [row for row in rows if not row["is_control"]]
    controls = [row for row in rows if row["is_control"]]
    first: dict[tuple[str, object], str] = {}
    for row in filter(_is_shown, tried):
        first.setdefault(_who(row), row["strategy"])
    strategies = {row["strategy"] for row in tried}
    shown_by = list(first.values())
    return RecoveryCounts(
        n_confirmed_pictures=len({row["finding_id"] for row in tried if row["verdict"] == "confirmed"}),
        n_recovered=sum(kind == "prompt" for kind, _ in first),
        n_controls=len({row["prompt_id"] for row in controls}),
        n_false_recoveries=len({row["prompt_id"] for row in controls if _is_shown(row)}),
        recovered_by={name: shown_by.count(name) for name in RECOVERY_STRATEGIES if name in strategies},
    )


def count_by_strategy(recoveries: pa.Table) -> tuple[StrategyCount, ...]:
    """Count each strategy that was tried, in the ladder's order; a row without a prompt is a try of its own."""
    rows: dict[str, list[_Row]] = defaultdict(list)
    for row in recoveries.select(_COLUMNS).to_pylist():
        rows[row["strategy"]].append(row)
    return tuple(_strategy_count(name, rows[name]) for name in RECOVERY_STRATEGIES if name in rows)


def best_rungs(recoveries: pa.Table, prompt_ids: Iterable[str]) -> dict[str, BestRung]:
    """The best rung of each of `prompt_ids` that was tried."""
    wanted = set(prompt_ids)
    best = best_rows(recoveries.select(["prompt_id", "verdict", "strategy"]).to_pylist())
    return {name: BestRung(row["verdict"], row["strategy"]) for name, row in best.items() if name in wanted}


def best_rows(rows: Iterable[_Row]) -> dict[str, _Row]:
    """Of the rungs of each prompt the one that shows most, among equal verdicts the first."""
    best: dict[str, _Row] = {}
    for row in sorted(rows, key=lambda row: RECOVERY_VERDICTS.index(row["verdict"])):
        if row["prompt_id"] is not None:
            best.setdefault(row["prompt_id"], row)
    return best


def _strategy_count(strategy: str, rows: list[_Row]) -> StrategyCount:
    tried = [row for row in rows if not row["is_control"]]
    controls = [row for row in rows if row["is_control"]]
    prompts = {row["prompt_id"] for row in tried if row["prompt_id"] is not None}
    return StrategyCount(
        strategy,
        n_tried=len(prompts) + sum(row["prompt_id"] is None for row in tried),
        n_shown=len({_who(row) for row in tried if _is_shown(row)}),
        n_controls=len({row["prompt_id"] for row in controls}),
        n_false=len({row["prompt_id"] for row in controls if _is_shown(row)}),
        evaluations=sum(row["evaluations"] for row in rows),
    )


def _who(row: _Row) -> tuple[str, object]:
    """What counts once: a prompt, or a finding where there is no prompt."""
    return ("finding", row["finding_id"]) if row["prompt_id"] is None else ("prompt", row["prompt_id"])


def _is_shown(row: _Row) -> bool:
    return bool(row["verdict"] != "not_shown")
