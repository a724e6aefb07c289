"""Sensitivity of audits of the planted models by tier: how often a caption was shown, and its p by many seeds.

Reads what `make bench-recover ARGS="--part audits"` and `make bench-truth` left. Without kept samples p is by 8 seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from flashbulb.audit.planted.collection import PLANTED_KINDS
from flashbulb.reports.bounds.rates import exact_interval
from tests.bench.models import MODELS
from tests.bench.truth.bands import BANDS
from tests.bench.truth.probabilities import best_truth

TIERS = {"most shown": 1.0, "1/4": 1 / 4, "1/16": 1 / 16, "1/64": 1 / 64, "less": 0.0}
"""Least weight of each tier: how often a caption is shown, as a share of the most shown one."""


def by_tier(folder: Path, run: Path) -> Iterator[str]:
    """Yield a row of Markdown for each tier and band of p of a model's planted captions."""
    captions = pd.read_csv(folder / "captions.csv", keep_default_na=False)
    scores = pd.read_parquet(run / "scores.parquet")[["prompt", "prompt_id", "flagged"]]
    attempts = pd.read_parquet(run / "recoveries.parquet")
    shown = attempts.loc[~attempts["is_control"] & (attempts["verdict"] != "not_shown"), "prompt_id"]
    rows = (
        captions[captions["kind"].isin(PLANTED_KINDS)].merge(best_truth(folder), on="prompt").merge(scores, on="prompt")
    )
    rows["recovered"] = rows["prompt_id"].isin(shown)
    rows["tier"] = [next(name for name, least in TIERS.items() if weight >= least) for weight in rows["weight"]]
    for tier in TIERS:
        for band in BANDS:
            part = rows[(rows["tier"] == tier) & (rows["band"] == band)]
            if len(part):
                counts = f"{share_text(part['flagged'])} | {share_text(part['recovered'])}"
                yield f"| {folder.name} | {tier} | {band} | {len(part)} | {counts} |"


def share_text(found: pd.Series) -> str:
    """Return how many are found, of how many, with the exact 95 % interval of their share."""
    interval = exact_interval(int(found.sum()), len(found))
    return f"{int(found.sum())} of {len(found)} ({interval.low:.2f} to {interval.high:.2f})"


def main() -> None:
    """Print the table of the models that were audited."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-recover"))
    audited = {name: parser.parse_args().work / name for name in MODELS}
    print("| model | shown, of the most shown | p | captions | detected | an image came back |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, run in audited.items():
        if (run / "recoveries.parquet").is_file():
            print("\n".join(by_tier(MODELS[name], run)))


if __name__ == "__main__":
    main()
