"""Count the rows of `recoveries.parquet` and `memories.parquet`: attempts, prompts and distinct images."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from flashbulb.reports.tables.limits import VERBATIM
from flashbulb.reports.tables.schema import RECOVERY_VERDICTS, TableRow

_COLUMNS = ("finding_id", "prompt_id", "is_control", "strategy", "evaluations", "verdict")


@dataclass(frozen=True, slots=True)
class RecoveryCounts:
    """The counts of recovery in `run.json`; the fields are explained at `Counts`."""

    n_confirmed_pictures: int
    n_recovered: int
    n_controls: int
    n_false_recoveries: int
    recovered_by: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StrategyCount:
    """What one strategy was tried on and what it recovered.

    Args:
        n_tried, n_shown: flagged prompts and searches without a prompt that it was tried on, and that gave an image.
        n_controls, n_false: the same for controls.
        evaluations: UE of all its attempts.
    """

    strategy: str
    n_tried: int
    n_shown: int
    n_controls: int
    n_false: int
    evaluations: int


@dataclass(frozen=True, slots=True)
class BestAttempt:
    """The best verdict on one prompt, and the first strategy that reached it."""

    verdict: str
    strategy: str
    is_control: bool

    def __str__(self) -> str:
        verdict, control = self.verdict.replace("_", " "), ", control" if self.is_control else ""
        return f"{verdict}{control}" if self.verdict == "not_shown" else f"{verdict} ({self.strategy}{control})"


def recovery_counts(recoveries: pa.Table, memories: pa.Table) -> RecoveryCounts:
    """Count prompts, controls and images, each once however many attempts or prompts it took.

    `recovered_by` has an entry for every strategy that was tried on anything but a control. A prompt, or a finding
    without a prompt, counts for the strategy of its first row that shows an image.
    """
    rows = recoveries.select(_COLUMNS).to_pylist()
    tried = [row for row in rows if not row["is_control"]]
    controls = [row for row in rows if row["is_control"]]
    first_strategy: dict[tuple[str, object], str] = {}
    for row in filter(_is_shown, tried):
        first_strategy.setdefault(_subject(row), row["strategy"])
    strategies = dict.fromkeys(row["strategy"] for row in tried)
    shown_by = list(first_strategy.values())
    return RecoveryCounts(
        n_confirmed_pictures=len(confirmed_images(memories) | _confirmed_without_prompt(tried)),
        n_recovered=sum(kind == "prompt" for kind, _ in first_strategy),
        n_controls=len({row["prompt_id"] for row in controls}),
        n_false_recoveries=len({row["prompt_id"] for row in controls if _is_shown(row)}),
        recovered_by={name: shown_by.count(name) for name in strategies},
    )


def confirmed_images(memories: pa.Table) -> set[str]:
    """Return the finding_ids of the distinct images that are confirmed for some flagged prompt."""
    rows = memories.select(["finding_id", "is_control", "verdict"]).to_pylist()
    return {row["finding_id"] for row in rows if row["verdict"] == "confirmed" and not row["is_control"]}


def copied_by_controls(memories: pa.Table) -> set[str]:
    """Return the training images of which plain samples of controls are copies."""
    rows = memories.select(["is_control", "kind", "p_hits", "nearest_image"]).to_pylist()
    return {row["nearest_image"] for row in rows if row["is_control"] and row["kind"] == VERBATIM and row["p_hits"]}


def _confirmed_without_prompt(rows: Iterable[TableRow]) -> set[str]:
    return {row["finding_id"] for row in rows if row["prompt_id"] is None and row["verdict"] == "confirmed"}


def count_by_strategy(recoveries: pa.Table) -> tuple[StrategyCount, ...]:
    """Count each strategy that was tried; every row without a prompt counts as tried once.

    Strategies come in the order of their first rows. A prompt has rows of every strategy up to its last, so this is the
    order in which they were tried.
    """
    rows: dict[str, list[TableRow]] = defaultdict(list)
    for row in recoveries.select(_COLUMNS).to_pylist():
        rows[row["strategy"]].append(row)
    return tuple(_strategy_count(name, attempts) for name, attempts in rows.items())


def best_attempts(recoveries: pa.Table) -> dict[str, BestAttempt]:
    """Return the best attempt on each prompt that recovery was tried on, by prompt_id."""
    best = best_rows(recoveries.select(["prompt_id", "is_control", "verdict", "strategy"]).to_pylist())
    return {name: BestAttempt(row["verdict"], row["strategy"], row["is_control"]) for name, row in best.items()}


def best_rows(rows: Iterable[TableRow]) -> dict[str, TableRow]:
    """Return each prompt's attempt with the best verdict, the first one among equals, by prompt_id."""
    best: dict[str, TableRow] = {}
    for row in sorted(rows, key=lambda row: RECOVERY_VERDICTS.index(row["verdict"])):
        if row["prompt_id"] is not None:
            best.setdefault(row["prompt_id"], row)
    return best


def is_copy_of_training(kind: str | None, nearest_image: str | None) -> bool:
    """Whether an attempt copies a training image: that decides, whatever the confidence in its signs alone says."""
    return kind is not None and nearest_image is not None


def _strategy_count(strategy: str, rows: list[TableRow]) -> StrategyCount:
    tried = [row for row in rows if not row["is_control"]]
    controls = [row for row in rows if row["is_control"]]
    prompts = {row["prompt_id"] for row in tried if row["prompt_id"] is not None}
    return StrategyCount(
        strategy,
        n_tried=len(prompts) + sum(row["prompt_id"] is None for row in tried),
        n_shown=len({_subject(row) for row in tried if _is_shown(row)}),
        n_controls=len({row["prompt_id"] for row in controls}),
        n_false=len({row["prompt_id"] for row in controls if _is_shown(row)}),
        evaluations=sum(row["evaluations"] for row in rows),
    )


def _subject(row: TableRow) -> tuple[str, object]:
    """Return what counts once: the prompt, or the finding if there is no prompt."""
    return ("finding", row["finding_id"]) if row["prompt_id"] is None else ("prompt", row["prompt_id"])


def _is_shown(row: TableRow) -> bool:
    return bool(row["verdict"] != "not_shown")
