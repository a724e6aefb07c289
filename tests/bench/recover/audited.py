"""A whole audit without training images, its recoveries held against the truth."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from flashbulb.audit.images.distances import RgbImage, tile_distances
from flashbulb.audit.images.png import read_image
from flashbulb.reports.bounds.rates import exact_interval
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE
from tests.bench.outcomes import Truth


def audit_blind(folder: Path, out: Path, options: Sequence[str] = ()) -> None:
    """Audit a planted model with its reference captions, but without its images; goes on where it stopped."""
    command = [sys.executable, "-m", "flashbulb", "audit", "--model", str(folder / "model"), "--out", str(out)]
    command += ["--prompts", str(folder / "captions.csv"), "--reference", str(folder / "reference.csv"), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def judge_run(folder: Path, run: Path) -> str:
    """A page of what the ladder recovered: memorized and partial images, controls, and how precise verdicts are."""
    truth = Truth(folder)
    rows = pd.read_parquet(run / "recoveries.parquet")
    scores = pd.read_parquet(run / "scores.parquet")[["prompt_id", "prompt", "flagged"]]
    rows = rows.merge(scores, on="prompt_id")
    recovered = [read_image(run / path).pixels for path in rows["image_path"]]
    rows["shown"] = [_planted(truth, image) for image in recovered]
    planted = truth.captions.merge(scores, on="prompt")
    flagged = planted[planted["flagged"]]
    own = dict(zip(flagged["prompt"], flagged["picture"], strict=True))
    rows["own"] = [_own(truth, own.get(p), image) for p, image in zip(rows["prompt"], recovered, strict=True)]
    tried, controls = rows[~rows["is_control"]], rows[rows["is_control"]]
    lines = [f"{folder.name}: {len(flagged)} planted captions flagged, {controls['prompt_id'].nunique()} controls"]
    for label in ("memorized", "partial"):
        wanted = set(flagged.loc[flagged["label"] == label, "picture"])
        for name, part in (("sample", tried[tried["strategy"] == "sample"]), ("ladder", tried)):
            found = wanted & set(part["own"].dropna())
            verified = wanted & set(part.loc[part["verdict"] != "not_shown", "own"].dropna())
            lines.append(
                f"  {label} images of flagged captions, {name}: {len(found)} of {len(wanted)} came out, "
                f"{len(verified)} with a verdict"
            )
    for verdict in ("confirmed", "likely"):
        for name, part in (("flagged", tried), ("controls", controls)):
            verdict_rows = part[part["verdict"] == verdict]
            right = verdict_rows["shown"].notna().sum()
            lines.append(f"  {verdict}, {name}: {len(verdict_rows)} attempts, {right} show a planted image")
    for name, chosen in (("confirmed or likely", ("confirmed", "likely")), ("confirmed", ("confirmed",))):
        n, n_false = controls["prompt_id"].nunique(), controls[controls["verdict"].isin(chosen)]["prompt_id"].nunique()
        low, high = exact_interval(n_false, n)
        lines.append(f"  controls {name}: {n_false} of {n} ({low:.1%} to {high:.1%})")
    shown = tried[tried["verdict"] != "not_shown"]
    by_attempt = shown.groupby("prompt_id")["strategy"].first().value_counts().to_dict()
    lines.append(f"  first shown by: {by_attempt}; UE {rows['evaluations'].sum()}")
    return "\n".join(lines)


def _own(truth: Truth, name: str | None, image: RgbImage) -> str | None:
    """The planted image of the caption, if the one recovered from it replicates that."""
    if name is None:
        return None
    distance = tile_distances(image[None], truth.images[truth.names.index(name)])[0]
    return name if distance <= REPLICATION_DISTANCE else None


def _planted(truth: Truth, image: RgbImage) -> str | None:
    """The planted image that a recovered one replicates, the nearest of them."""
    distances = tile_distances(truth.images, image)
    return truth.names[int(distances.argmin())] if distances.min() <= REPLICATION_DISTANCE else None
