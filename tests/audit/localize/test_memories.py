"""Memories are the flagged prompts with a recovered image, highest spike score first, each with its image."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from flashbulb.audit.localize.memories import MemoriesError, draw_clean_prompts, read_memories
from flashbulb.reports.tables.schema import RECOVERIES_SCHEMA, scores_schema, write_table
from tests.reports.examples import DETECTORS, attempt, attempts_table, scores_table

TEXTS = ["a red star", "a blue sea", "жар-птица", "a hill", "a town", "a lake"]
SCORES = [1.0, 5.0, 3.0, 4.0, 2.0, 0.0]  # of p0 … p5
FLAGGED = [True, True, True, True, False, False]


def image_of(prompt_id: str) -> np.ndarray:
    return np.random.default_rng(int(prompt_id[1:])).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def recovered(prompt_id: str, finding_id: str | None, **changes: Any) -> dict[str, Any]:
    """Return the row of a prompt whose image was recovered."""
    return attempt(
        prompt_id, "confirmed", **({"finding_id": finding_id, "image_path": f"images/{prompt_id}.png"} | changes)
    )


RECOVERIES = [
    recovered("p0", "finding-001"),
    attempt("p1", "not_shown"),
    recovered("p1", "finding-001", strategy="ascend"),
    recovered("p2", "finding-002"),
    recovered("p3", "finding-001"),
    attempt("p4", "not_shown", is_control=True),
]


def write_run(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write the tables and images of an audit."""
    scores = scores_table(TEXTS)
    for name, values in (("spike_score", SCORES), ("flagged", FLAGGED)):
        field = scores.schema.field(name)
        scores = scores.set_column(scores.schema.get_field_index(name), field, pa.array(values, field.type))
    write_table(folder / "scores.parquet", scores, scores_schema(DETECTORS), {})
    write_table(folder / "recoveries.parquet", attempts_table(rows), RECOVERIES_SCHEMA, {})
    (folder / "images").mkdir()
    for prompt_id in ("p0", "p1", "p2", "p3"):
        Image.fromarray(image_of(prompt_id)).save(folder / "images" / f"{prompt_id}.png")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path, RECOVERIES)


def ids(run: Path, prompts: tuple[str, ...] = (), limit: int = 99) -> list[str]:
    return [memory.prompt_id for memory in read_memories(run, prompts, limit)]


def test_the_worst_prompt_of_each_finding_comes_first_then_the_others(run: Path) -> None:
    assert ids(run) == ["p1", "p2", "p3", "p0"]
    assert [memory.finding_id for memory in read_memories(run, (), 2)] == ["finding-001", "finding-002"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_at_most_limit_memories_are_read(run: Path, limit: int) -> None:
    assert ids(run, limit=limit) == ["p1", "p2", "p3", "p0"][:limit]


def test_each_memory_has_its_prompt_and_image(run: Path) -> None:
    for memory in read_memories(run, (), 99):
        assert memory.prompt == TEXTS[int(memory.prompt_id[1:])]
        assert np.array_equal(memory.image, image_of(memory.prompt_id))


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        (("жар-птица",), ["p2"]),
        (("p0",), ["p0"]),
        (("p3", "жар-птица", "p0"), ["p3", "p2", "p0"]),
        (("p3", "a hill"), ["p3"]),
    ],
)
def test_prompts_are_selected_by_text_or_id_and_stay_worst_first(
    run: Path, prompts: tuple[str, ...], expected: list[str]
) -> None:
    assert ids(run, prompts) == expected


@pytest.mark.parametrize("unknown", ["a town", "p4", "p5", "nothing like it", ""])
def test_a_prompt_without_a_recovered_image_is_refused(run: Path, unknown: str) -> None:
    with pytest.raises(MemoriesError, match="no image was recovered from --prompt") as caught:
        read_memories(run, ("p0", unknown), 99)
    assert repr(unknown) in str(caught.value)


@pytest.mark.parametrize("rows", [[], [attempt("p0", "not_shown")], [recovered("p4", "finding-001", is_control=True)]])
def test_a_run_without_findings_has_nothing_to_localize(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(MemoriesError, match="no image was recovered from any prompt"):
        read_memories(write_run(tmp_path, rows), (), 99)


def test_a_run_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MemoriesError, match="run the audit without --no-images"):
        read_memories(write_run(tmp_path, [recovered("p0", "finding-001", image_path=None)]), (), 99)


def removed(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwritten(path: Path) -> None:
    path.write_bytes(b"no image at all")


def with_a_broken_chunk(path: Path) -> None:
    content = path.read_bytes()
    at = content.index(b"IDAT") - 4
    path.write_bytes(content[:at] + b"\x00\x00\x00\x01\x00\x00\x00\x00" + content[at:])


@pytest.mark.parametrize("damage", [removed, truncated, overwritten, with_a_broken_chunk])
def test_an_unreadable_image_is_named(run: Path, damage: Any) -> None:
    damage(run / "images" / "p2.png")
    with pytest.raises(MemoriesError, match=r"images/p2\.png cannot be read \(.*run the audit again to restore it"):
        read_memories(run, ("p2",), 99)
    assert ids(run, ("p0",)) == ["p0"]


def test_clean_prompts_are_a_reproducible_draw_of_unflagged_prompts(run: Path) -> None:
    assert draw_clean_prompts(run, 99, 0) == ["a town", "a lake"]
    assert draw_clean_prompts(run, 0, 0) == []
    drawn = [tuple(draw_clean_prompts(run, 1, seed)) for seed in range(20)]
    assert set(drawn) == {("a town",), ("a lake",)}
    assert drawn == [tuple(draw_clean_prompts(run, 1, seed)) for seed in range(20)]
