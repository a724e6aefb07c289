"""A whole audit without training pictures, its recoveries held against the truth."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from audit.evidence import REPLICATION_DISTANCE, Picture, tile_distances
from reports.rates import wilson_interval
from tests.bench.outcomes import Truth


def audit_blind(folder: Path, out: Path, options: Sequence[str] = ()) -> None:
    """Audit a planted model with its reference captions, but without its pictures; goes on where it stopped."""
    command = [sys.executable, "-m", "audit", "audit", "--model", str(folder / "model"), "--out", str(out)]
    command += ["--prompts", str(folder / "captions.csv"), "--reference", str(folder / "reference.csv"), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def judge_run(folder: Path, run: Path) -> str:
    """A page of what the ladder recovered: memorized and partial pictures, controls, and how precise verdicts are."""
    truth = Truth(folder)
    rows = pd.read_parquet(run / "recoveries.parquet")
    scores = pd.read_parquet(run / "scores.parquet")[["prompt_id", "prompt", "flagged"]]
    rows = rows.merge(scores, on="prompt_id")
    recovered = [_read(run / path) for path in rows["image_path"]]
    rows["shown"] = [_planted(truth, picture) for picture in recovered]
    planted = truth.captions.merge(scores, on="prompt")
    flagged = planted[planted["flagged"]]
    own = dict(zip(flagged["prompt"], flagged["picture"], strict=True))
    rows["own"] = [_own(truth, own.get(p), picture) for p, picture in zip(rows["prompt"], recovered, strict=True)]
    tried, controls = rows[~rows["is_control"]], rows[rows["is_control"]]
    lines = [f"{folder.name}: {len(flagged)} planted captions flagged, {controls['prompt_id'].nunique()} controls"]
    for label in ("memorized", "partial"):
        wanted = set(flagged.loc[flagged["label"] == label, "picture"])
        for name, part in (("sample", tried[tried["strategy"] == "sample"]), ("ladder", tried)):
            found = wanted & set(part["own"].dropna())
            verified = wanted & set(part.loc[part["verdict"] != "not_shown", "own"].dropna())
            lines.append(
                f"  {label} pictures of flagged captions, {name}: {len(found)} of {len(wanted)} came out, "
                f"{len(verified)} with a verdict"
            )
    for verdict in ("confirmed", "likely"):
        for name, part in (("flagged", tried), ("controls", controls)):
            of_verdict = part[part["verdict"] == verdict]
            right = of_verdict["shown"].notna().sum()
            lines.append(f"  {verdict}, {name}: {len(of_verdict)} rungs, {right} show a planted picture")
    for name, chosen in (("confirmed or likely", ("confirmed", "likely")), ("confirmed", ("confirmed",))):
        n, n_false = controls["prompt_id"].nunique(), controls[controls["verdict"].isin(chosen)]["prompt_id"].nunique()
        low, high = wilson_interval(n_false, n)
        lines.append(f"  controls {name}: {n_false} of {n} ({low:.1%} to {high:.1%})")
    by_rung = tried[tried["verdict"] != "not_shown"].groupby("prompt_id")["strategy"].first().value_counts().to_dict()
    lines.append(f"  first shown by: {by_rung}; UE {rows['evaluations'].sum()}")
    return "\n".join(lines)


def _read(path: Path) -> Picture:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _own(truth: Truth, name: str | None, picture: Picture) -> str | None:
    """The planted picture of the caption, if the one recovered from it replicates that."""
    if name is None:
        return None
    distance = tile_distances(picture[None], truth.pictures[truth.names.index(name)])[0]
    return name if distance <= REPLICATION_DISTANCE else None


def _planted(truth: Truth, picture: Picture) -> str | None:
    """The planted picture that a recovered one replicates, the nearest of them."""
    distances = tile_distances(truth.pictures, picture)
    return truth.names[int(distances.argmin())] if distances.min() <= REPLICATION_DISTANCE else None
