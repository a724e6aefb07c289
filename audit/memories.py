"""The memories of a finished audit: flagged prompts whose picture came back, with that picture; and clean prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from audit.config import SettingsError
from audit.evidence import Picture
from reports.files import RECOVERIES_FILE, SCORES_FILE
from reports.schema import RECOVERIES_SCHEMA, read_table, scores_schema


@dataclass(frozen=True, slots=True)
class Memory:
    """A flagged prompt and the picture that came back, [height, width, 3]."""

    prompt_id: str
    prompt: str
    finding_id: str
    picture: Picture


def memories_of(run: Path, prompts: Sequence[str], limit: int) -> list[Memory]:
    """Memories of the run in directory `run`, worst first, at most `limit`.

    Args:
        prompts: texts or ids of those wanted; by default the worst prompt of each finding, then the others.

    Raises:
        SettingsError: a wanted prompt brought no picture back, none did, or the pictures are not kept.
    """
    rows = _shown(run)
    unknown = [name for name in prompts if name not in {*rows["prompt_id"], *rows["prompt"]}]
    if unknown:
        raise SettingsError(
            f"--prompt {unknown[0]!r} brought no picture back in {run}; its recoveries.parquet lists those that did"
        )
    if rows.empty:
        raise SettingsError(f"no prompt of {run} brought a picture back, so there is nothing to localize")
    if rows["image_path"].isna().any():
        raise SettingsError(f"{run} keeps no pictures; run the audit without --no-images")
    if prompts:
        rows = rows[rows["prompt_id"].isin(prompts) | rows["prompt"].isin(prompts)]
    rows = rows.assign(repeated=rows.groupby("finding_id").cumcount()).sort_values("repeated", kind="stable")
    return [_memory(run, *row) for row in rows[list(_COLUMNS)].head(limit).itertuples(index=False)]


_COLUMNS = ("prompt_id", "prompt", "finding_id", "image_path")


def _shown(run: Path) -> pd.DataFrame:
    """Prompts with a finding, highest spike score first."""
    recoveries = read_table(run / RECOVERIES_FILE, RECOVERIES_SCHEMA).to_pandas()
    scores = read_table(run / SCORES_FILE, scores_schema(())).to_pandas()[["prompt_id", "prompt", "spike_score"]]
    shown = recoveries[recoveries["finding_id"].notna() & ~recoveries["is_control"]].merge(scores, on="prompt_id")
    ranked: pd.DataFrame = shown.sort_values("spike_score", ascending=False, kind="stable")
    return ranked


def _memory(run: Path, prompt_id: str, prompt: str, finding_id: str, image_path: str) -> Memory:
    try:
        with Image.open(run / image_path) as image:
            picture = np.asarray(image.convert("RGB"), dtype=np.uint8)
    except OSError as error:
        raise SettingsError(
            f"{run / image_path} cannot be read ({error}); run the audit again to restore it"
        ) from error
    return Memory(prompt_id, prompt, finding_id, picture)


def clean_prompts_of(run: Path, n: int, seed: int) -> list[str]:
    """At most `n` random prompts of the run that were not flagged."""
    scores = read_table(run / SCORES_FILE, scores_schema(())).to_pandas()
    clean = scores.loc[~scores["flagged"], "prompt"].tolist()
    chosen = np.random.default_rng(seed).permutation(len(clean))[:n]
    return [clean[i] for i in sorted(chosen)]
