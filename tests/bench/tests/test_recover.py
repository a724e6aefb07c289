"""The benchmark of captions known in part counts what a budget pays for, and keeps every attempt as a row."""

from pathlib import Path

import pandas as pd

from tests.bench.recover.attempted import Tried
from tests.bench.recover.partial import BUDGET, CLEAN, WEAK, Measured, write_rows
from tests.bench.recover.partial_page import RUNGS, page

OF_SEED = 50


def tried(name: str, evaluations: int, n_shown: int, named: str | None = None, verdict: str = "not_shown") -> Tried:
    return Tried(name, evaluations, (True,) * n_shown + (False,) * (4 - n_shown), named, verdict)


def row_of(*given: Tried) -> list[Tried]:
    by_name = {attempt.name: attempt for attempt in given}
    return [by_name.get(name, tried(name, 200, 0)) for name in RUNGS]


def weak(rows: list[list[Tried]], shows: list[tuple[bool, ...]]) -> Measured:
    return Measured("model", WEAK, 0, ["image"] * len(rows), rows, shows, OF_SEED)


def cells_after(measured: list[Measured], start: str) -> list[str]:
    return next(line for line in page(measured) if line.startswith(start)).strip("| ").split(" | ")


def test_what_the_budget_does_not_pay_for_is_not_counted() -> None:
    late = tried("cyclic-0", 200, 4, "image", "confirmed")
    seldom = (False,) * (BUDGET // OF_SEED) + (True, True)
    _, _, by_sampling, by_ladder, _, *counts = cells_after([weak([row_of(late)], [seldom])], "| all |")
    assert by_sampling.startswith("0 of 1")
    assert by_ladder.startswith("0 of 1")
    assert counts == ["0"] * 5


def test_one_image_is_not_out_but_two_are() -> None:
    rows = [row_of(tried("few_steps-0", 200, n)) for n in (1, 2)]
    cells = cells_after([weak(rows, [(True, False), (True, True)])], "| all |")
    assert cells[2].startswith("1 of 2")
    assert cells[3].startswith("1 of 2")
    assert cells[5:7] == ["2", "2"]


def test_verdicts_are_told_apart_by_what_they_show() -> None:
    rows = [
        row_of(tried("sample-0", 200, 4, named, "likely")) for named in ("image", "other", "other", None, None, None)
    ]
    cells = cells_after([weak(rows, [(False,)] * len(rows))], "| all |")
    assert cells[-3:] == ["1", "2", "3"]


def test_the_page_has_tables_of_the_measured_cases_alone() -> None:
    measured = Measured("model", CLEAN, 0, [""], [row_of()], [(False,) * 4], OF_SEED)
    assert [line for line in page([measured]) if line.startswith("#")] == ["### Clean captions"]


def test_a_page_of_chosen_strategies_names_them_alone() -> None:
    rows = [[tried("sample-0", 200, 0), tried("few_steps-0", 624, 2)]]
    lines = list(page([Measured("model", CLEAN, 0, [""], rows, [(False,) * 4], OF_SEED)]))
    assert "few steps" in lines[2]
    assert "cyclic" not in lines[2]


def test_every_attempt_is_kept(tmp_path: Path) -> None:
    write_rows([weak([row_of(), row_of(tried("ascend-0", 148, 3))], [(True,), (False,)])], tmp_path / "kept.parquet")
    kept = pd.read_parquet(tmp_path / "kept.parquet")
    assert len(kept) == 2 * (len(RUNGS) + 1)
    ascent = kept[(kept["caption"] == 1) & (kept["name"] == "ascend-0")].iloc[0]
    assert ascent["evaluations"] == 148
    assert list(ascent["shows"]) == [True, True, True, False]
    assert kept.loc[kept["name"] == "sampling", "evaluations"].tolist() == [OF_SEED, OF_SEED]
