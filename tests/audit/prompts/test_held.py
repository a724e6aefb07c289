"""Prompts that tier 0 left out are kept as columns: written as before, read without one object, at 150 bytes each."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from flashbulb.audit.prompts.held import ScreenedCandidates, TextsInOrder, prompt_columns
from flashbulb.audit.prompts.prompt_set import Prompt, PromptSet
from flashbulb.audit.record.shards import PROMPTS_FILE, read_columns, read_prompt_set, save_prompts


def prompts(n: int) -> list[Prompt]:
    texts = [f"poster of the town number {i}, in blue and {'gold' * (i % 3)}" for i in range(n)]
    return [
        Prompt(hashlib.sha256(text.encode()).hexdigest()[:16], text, f"captions-{i // 6000}.csv", i + 2, 1 + i % 2)
        for i, text in enumerate(texts)
    ]


def prompt_set(chosen: list[Prompt]) -> PromptSet:
    return PromptSet(tuple(chosen), len(chosen), len(chosen), 0, 0, "prompt", "0" * 64, "captions")


def test_columns_are_written_as_the_prompts_are(tmp_path: Path) -> None:
    chosen = prompts(100)
    save_prompts(tmp_path, prompt_set(chosen))
    pd.DataFrame([asdict(prompt) for prompt in chosen]).to_parquet(tmp_path / "rows.parquet", index=False)
    assert (tmp_path / PROMPTS_FILE).read_bytes() == (tmp_path / "rows.parquet").read_bytes()


def test_columns_are_read_without_an_object_for_each_prompt(tmp_path: Path) -> None:
    chosen = prompts(20_000)
    saved = save_prompts(tmp_path, prompt_set(chosen))
    with patch("flashbulb.audit.record.shards.Prompt") as built:
        columns = read_columns(tmp_path, saved)
    assert not built.called
    assert columns.nbytes < 150 * len(chosen)
    assert [Prompt(**row) for row in columns.to_pylist()] == chosen
    assert read_prompt_set(tmp_path, saved) == prompt_set(chosen)
    assert all(column.num_chunks == 1 for column in columns.columns)


def test_no_prompt_may_be_left_out(tmp_path: Path) -> None:
    assert read_columns(tmp_path, save_prompts(tmp_path, prompt_set([]))).num_rows == 0
    saved = save_prompts(tmp_path, prompt_set([]))
    pd.DataFrame([]).to_parquet(tmp_path / PROMPTS_FILE, index=False)  # so it was written before
    saved["file_sha256"] = hashlib.sha256((tmp_path / PROMPTS_FILE).read_bytes()).hexdigest()
    assert read_columns(tmp_path, saved).num_rows == 0


def test_texts_come_in_the_order_of_the_prompt_file() -> None:
    chosen, passed = prompts(50), np.random.default_rng(0).random(50) < 0.3
    left_out = prompt_columns([prompt for prompt, passes in zip(chosen, passed, strict=True) if not passes])
    passing = [prompt.text for prompt, passes in zip(chosen, passed, strict=True) if passes]
    texts = TextsInOrder(passing, ScreenedCandidates(left_out, passed, np.zeros(50)))
    assert list(texts) == [prompt.text for prompt in chosen]
