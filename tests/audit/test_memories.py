"""Memories are the flagged prompts whose picture came back, worst first, each with that very picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from audit.config import SettingsError
from audit.memories import clean_prompts_of, memories_of
from reports.schema import RECOVERIES_SCHEMA, scores_schema, write_table
from tests.reports.examples import DETECTORS, rung, rungs_table, scores_table

TEXTS = ["a red star", "a blue sea", "жар-птица", "a hill", "a town", "a lake"]
SCORES = [1.0, 5.0, 3.0, 4.0, 2.0, 0.0]  # of p0 … p5
FLAGGED = [True, True, True, True, False, False]


def picture_of(prompt_id: str) -> np.ndarray:
    return np.random.default_rng(int(prompt_id[1:])).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def shown(prompt_id: str, finding_id: str | None, **changes: Any) -> dict[str, Any]:
    """The row of a prompt whose picture came back."""
    return rung(
        prompt_id, "confirmed", **({"finding_id": finding_id, "image_path": f"images/{prompt_id}.png"} | changes)
    )


SHOWN = [
    shown("p0", "finding-001"),
    rung("p1", "not_shown"),
    shown("p1", "finding-001", strategy="ascend"),
    shown("p2", "finding-002"),
    shown("p3", "finding-001"),
    rung("p4", "not_shown", is_control=True),
]


def run_of(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """The tables and pictures of an audit."""
    scores = scores_table(TEXTS)
    for name, values in (("spike_score", SCORES), ("flagged", FLAGGED)):
        field = scores.schema.field(name)
        scores = scores.set_column(scores.schema.get_field_index(name), field, pa.array(values, field.type))
    write_table(folder / "scores.parquet", scores, scores_schema(DETECTORS), {})
    write_table(folder / "recoveries.parquet", rungs_table(rows), RECOVERIES_SCHEMA, {})
    (folder / "images").mkdir()
    for prompt_id in ("p0", "p1", "p2", "p3"):
        Image.fromarray(picture_of(prompt_id)).save(folder / "images" / f"{prompt_id}.png")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_of(tmp_path, SHOWN)


def ids(run: Path, prompts: tuple[str, ...] = (), limit: int = 99) -> list[str]:
    return [memory.prompt_id for memory in memories_of(run, prompts, limit)]


def test_the_worst_prompt_of_each_finding_comes_first_then_the_others(run: Path) -> None:
    assert ids(run) == ["p1", "p2", "p3", "p0"]
    assert [memory.finding_id for memory in memories_of(run, (), 2)] == ["finding-001", "finding-002"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_at_most_the_limit_is_given(run: Path, limit: int) -> None:
    assert ids(run, limit=limit) == ["p1", "p2", "p3", "p0"][:limit]


def test_each_memory_has_its_text_and_its_picture(run: Path) -> None:
    for memory in memories_of(run, (), 99):
        assert memory.prompt == TEXTS[int(memory.prompt_id[1:])]
        assert np.array_equal(memory.picture, picture_of(memory.prompt_id))


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        (("жар-птица",), ["p2"]),
        (("p0",), ["p0"]),
        (("p3", "жар-птица", "p0"), ["p3", "p2", "p0"]),
        (("p3", "a hill"), ["p3"]),
    ],
)
def test_prompts_are_chosen_by_text_or_id_and_stay_worst_first(
    run: Path, prompts: tuple[str, ...], expected: list[str]
) -> None:
    assert ids(run, prompts) == expected


@pytest.mark.parametrize("unknown", ["a town", "p4", "p5", "nothing like it", ""])
def test_a_prompt_that_brought_nothing_back_is_refused(run: Path, unknown: str) -> None:
    with pytest.raises(SettingsError, match="brought no picture back in") as caught:
        memories_of(run, ("p0", unknown), 99)
    assert repr(unknown) in str(caught.value)


@pytest.mark.parametrize("rows", [[], [rung("p0", "not_shown")], [shown("p4", "finding-001", is_control=True)]])
def test_a_run_without_findings_has_nothing_to_localize(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(SettingsError, match=r"no prompt of .* brought a picture back"):
        memories_of(run_of(tmp_path, rows), (), 99)


def test_a_run_that_keeps_no_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="run the audit without --no-images"):
        memories_of(run_of(tmp_path, [shown("p0", "finding-001", image_path=None)]), (), 99)


def removed(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwritten(path: Path) -> None:
    path.write_bytes(b"no picture at all")


def with_a_broken_chunk(path: Path) -> None:
    content = path.read_bytes()
    at = content.index(b"IDAT") - 4
    path.write_bytes(content[:at] + b"\x00\x00\x00\x01\x00\x00\x00\x00" + content[at:])


@pytest.mark.parametrize("damage", [removed, truncated, overwritten, with_a_broken_chunk])
def test_a_picture_that_cannot_be_read_is_named(run: Path, damage: Any) -> None:
    damage(run / "images" / "p2.png")
    with pytest.raises(SettingsError, match=r"images/p2\.png cannot be read \(.*run the audit again to restore it"):
        memories_of(run, ("p2",), 99)
    assert ids(run, ("p0",)) == ["p0"]


def test_clean_prompts_are_a_repeatable_choice_of_what_was_not_flagged(run: Path) -> None:
    assert clean_prompts_of(run, 99, 0) == ["a town", "a lake"]
    assert clean_prompts_of(run, 0, 0) == []
    chosen = [tuple(clean_prompts_of(run, 1, seed)) for seed in range(20)]
    assert set(chosen) == {("a town",), ("a lake",)}
    assert chosen == [tuple(clean_prompts_of(run, 1, seed)) for seed in range(20)]
