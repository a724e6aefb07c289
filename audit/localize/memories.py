"""The memories of a finished audit, flagged prompts with their recovered image, and its clean prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.images.png import read_image
from flashbulb.reports.tables.files import RECOVERIES_FILE, SCORES_FILE
from flashbulb.reports.tables.run_paths import path_in_run
from flashbulb.reports.tables.schema import RECOVERIES_SCHEMA, read_table, scores_schema


class MemoriesError(ValueError):
    """The run has no memory to localize; the message names the reason and a solution."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A flagged prompt and its recovered image [height, width, 3]."""

    prompt_id: str
    prompt: str
    finding_id: str
    image: RgbImage


_COLUMNS = ("prompt_id", "prompt", "finding_id", "image_path")


def read_memories(run: Path, prompts: Sequence[str], limit: int) -> list[Memory]:
    """Read at most `limit` memories of the run directory `run`: the worst prompt of each finding, then the others.

    Args:
        prompts: texts or ids of the prompts to read; empty for all.

    Raises:
        MemoriesError: no image was recovered from a prompt of `prompts` or from any prompt, or the run keeps no
            images.
        RunIncompleteError: the path of an image leads out of the run.
    """
    rows = _recovered_rows(run)
    unknown = [prompt for prompt in prompts if prompt not in {*rows["prompt_id"], *rows["prompt"]}]
    if unknown:
        raise MemoriesError(
            f"no image was recovered from --prompt {unknown[0]!r} in {run}; "
            "choose a prompt with a finding in its recoveries.parquet"
        )
    if rows.empty:
        raise MemoriesError(
            f"no image was recovered from any prompt of {run}: nothing to localize; give a run with findings"
        )
    if rows["image_path"].isna().any():
        raise MemoriesError(f"{run} keeps no images; run the audit without --no-images")
    if prompts:
        rows = rows[rows["prompt_id"].isin(prompts) | rows["prompt"].isin(prompts)]
    rows = rows.assign(repeated=rows.groupby("finding_id").cumcount()).sort_values("repeated", kind="stable")
    return [_read_memory(run, *row) for row in rows[list(_COLUMNS)].head(limit).itertuples(index=False)]


def _recovered_rows(run: Path) -> pd.DataFrame:
    """Return the recovery rows with a finding, highest spike score first."""
    recoveries = read_table(run / RECOVERIES_FILE, RECOVERIES_SCHEMA).to_pandas()
    scores = read_table(run / SCORES_FILE, scores_schema(())).to_pandas()[["prompt_id", "prompt", "spike_score"]]
    recovered = recoveries[recoveries["finding_id"].notna() & ~recoveries["is_control"]].merge(scores, on="prompt_id")
    ranked: pd.DataFrame = recovered.sort_values("spike_score", ascending=False, kind="stable")
    return ranked


def _read_memory(run: Path, prompt_id: str, prompt: str, finding_id: str, image_path: str) -> Memory:
    path = path_in_run(run, RECOVERIES_FILE, image_path)
    try:
        image = read_image(path).pixels
    except OSError as error:
        raise MemoriesError(f"{path} cannot be read ({error}); run the audit again to restore it") from error
    return Memory(prompt_id, prompt, finding_id, image)


def draw_clean_prompts(run: Path, n: int, seed: int) -> list[str]:
    """Draw at most `n` random clean prompts of the run, those that were not flagged, in the order of the run."""
    scores = read_table(run / SCORES_FILE, scores_schema(())).to_pandas()
    clean = scores.loc[~scores["flagged"], "prompt"].tolist()
    drawn = np.random.default_rng(seed).permutation(len(clean))[:n]
    return [clean[i] for i in sorted(drawn)]
