"""Prompts are held as columns: written as objects would be, read without an object for each, at 150 bytes each."""

import hashlib
import pickle
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashbulb.audit.prompts.held import HeldPrompts, Prompt, ScreenedCandidates, TextsInOrder
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.shards import PROMPTS_FILE, read_held, read_prompt_set, save_prompts


def prompts(n: int) -> list[Prompt]:
    texts = [f"poster of the town number {i}, in blue and {'gold' * (i % 3)}" for i in range(n)]
    return [
        Prompt(hashlib.sha256(text.encode()).hexdigest()[:16], text, f"captions-{i // 6000}.csv", i + 2, 1 + i % 2)
        for i, text in enumerate(texts)
    ]


def prompt_set(chosen: list[Prompt]) -> PromptSet:
    return PromptSet(HeldPrompts.of(chosen), len(chosen), len(chosen), 0, 0, "prompt", "0" * 64, "captions")


def test_columns_are_written_as_the_prompts_are(tmp_path: Path) -> None:
    chosen = prompts(100)
    save_prompts(tmp_path, prompt_set(chosen))
    pd.DataFrame([asdict(prompt) for prompt in chosen]).to_parquet(tmp_path / "rows.parquet", index=False)
    assert (tmp_path / PROMPTS_FILE).read_bytes() == (tmp_path / "rows.parquet").read_bytes()


def test_columns_are_read_without_an_object_for_each_prompt(tmp_path: Path) -> None:
    chosen = prompts(20_000)
    saved = save_prompts(tmp_path, prompt_set(chosen))
    with patch("flashbulb.audit.prompts.held.Prompt") as built:
        held = read_held(tmp_path, saved)
    assert not built.called
    assert held.columns.nbytes < 150 * len(chosen)
    assert list(held) == chosen
    assert read_prompt_set(tmp_path, saved) == prompt_set(chosen)
    assert all(column.num_chunks == 1 for column in held.columns.columns)


@given(st.integers(0, 30), st.data())
def test_held_prompts_are_the_sequence_of_their_objects(n: int, data: st.DataObject) -> None:
    chosen = prompts(n)
    held = HeldPrompts.of(iter(chosen))
    assert len(held) == n
    assert list(held) == chosen
    assert held == HeldPrompts.of(chosen)
    assert (held.texts, held.ids) == ([p.text for p in chosen], [p.prompt_id for p in chosen])
    bounds = st.none() | st.integers(-n - 2, n + 2)
    part = slice(data.draw(bounds), data.draw(bounds), data.draw(st.sampled_from([None, 1, 2, -1])))
    assert list(held[part]) == chosen[part]
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=np.bool_)
    assert held.where(mask) == HeldPrompts.of(prompt for prompt, is_in in zip(chosen, mask, strict=True) if is_in)
    for index in range(-n, n):
        assert held[index] == chosen[index]
    for index in (n, -n - 1):
        with pytest.raises(IndexError):
            held[index]


def test_other_prompts_are_not_equal() -> None:
    chosen = prompts(3)
    held = HeldPrompts.of(chosen)
    assert held != HeldPrompts.of(chosen[:2])
    assert held != HeldPrompts.of([*chosen[:2], replace(chosen[2], source_row=9)])


def test_a_part_of_many_prompts_is_small_on_its_own() -> None:
    held = HeldPrompts.of(prompts(2_000))
    assert len(pickle.dumps(held[:20])) < 20 * 200 + 2_000
    assert len(pickle.dumps(held.where(np.arange(2_000) < 20))) < 20 * 200 + 2_000


def test_no_prompt_may_be_left_out(tmp_path: Path) -> None:
    assert len(read_held(tmp_path, save_prompts(tmp_path, prompt_set([])))) == 0
    saved = save_prompts(tmp_path, prompt_set([]))
    pd.DataFrame([]).to_parquet(tmp_path / PROMPTS_FILE, index=False)  # so it was written before
    saved["file_sha256"] = hashlib.sha256((tmp_path / PROMPTS_FILE).read_bytes()).hexdigest()
    assert len(read_held(tmp_path, saved)) == 0


def test_texts_come_in_the_order_of_the_prompt_file() -> None:
    held, passed = HeldPrompts.of(prompts(50)), np.random.default_rng(0).random(50) < 0.3
    texts = TextsInOrder(held.where(passed).texts, ScreenedCandidates(held.where(~passed), passed, np.zeros(50)))
    assert list(texts) == held.texts
