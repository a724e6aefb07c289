"""Keep the prompts of a recorded set beside its shards, and tell whether all of both is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from audit.prompts import Prompt, PromptSet
from audit.recording import PROMPT_FOLDER, STEP_FOLDER, Recorded
from hooks import complete_shards, read_manifest
from reports.files import whole_file

PROMPTS_FILE = "prompts.parquet"
_PROMPT_FIELDS = [field.name for field in fields(Prompt)]


def save_prompts(folder: Path, prompts: PromptSet) -> dict[str, Any]:
    """Write prompts.parquet into `folder`; returns what else is known of the set."""
    with whole_file(folder / PROMPTS_FILE) as part:
        pd.DataFrame([asdict(prompt) for prompt in prompts.prompts]).to_parquet(part, index=False)
    return {field.name: getattr(prompts, field.name) for field in fields(PromptSet) if field.name != "prompts"}


def read_prompt_set(folder: Path, described: Mapping[str, Any]) -> PromptSet:
    """The set that `save_prompts` wrote, of which it returned what is `described`."""
    table = pd.read_parquet(folder / PROMPTS_FILE)
    rows = table[_PROMPT_FIELDS].itertuples(index=False)
    return PromptSet(prompts=tuple(Prompt(*row) for row in rows), **described)


def damage_of(recorded: Recorded, fingerprint: str, n_prompts: int) -> str | None:
    """What is wrong, if not every shard is there, whole and of this recording, or they do not hold every prompt."""
    for half in (PROMPT_FOLDER, STEP_FOLDER):
        shards = complete_shards(recorded.folder / half, fingerprint)
        n_rows = sum(read_manifest(shard).n_rows for shard in shards.values())
        whole = sorted(shards) == list(range(recorded.n_shards)) and n_rows >= n_prompts > 0
        if not whole or n_rows % n_prompts or (half == PROMPT_FOLDER and n_rows != n_prompts):
            return (
                f"{len(shards)} whole {half} shards with {n_rows} rows, expected {recorded.n_shards} "
                f"for {n_prompts} prompts"
            )
    return None
