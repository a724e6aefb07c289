"""Probabilities per seed from kept samples, and the tables of `make bench-truth`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from flashbulb.audit.planted.collection import PLANTED_KINDS
from flashbulb.audit.planted.truth import NUM_INFERENCE_STEPS, probability_columns
from flashbulb.reports.bounds.rates import percent
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE
from flashbulb.reports.views.markdown_parts import table as markdown_table
from tests.bench.models import ALL
from tests.bench.truth.bands import BANDS, band_of, read_truth
from tests.bench.truth.sampled import SAMPLES, identity_of, read_samples


@dataclass(frozen=True, slots=True)
class Sampled:
    """A planted model with its kept samples."""

    captions: pd.DataFrame
    samples: pd.DataFrame
    shipped: pd.DataFrame  # truth.parquet


def open_sampled(folder: Path, samples: pd.DataFrame) -> Sampled:
    """Read the captions and the shipped truth of the model that was sampled."""
    captions = pd.read_csv(folder / "captions.csv", keep_default_na=False)
    return Sampled(captions, samples, read_truth(folder / "truth.parquet"))


def probabilities(sampled: Sampled) -> pd.DataFrame:
    """Count by caption: prompt, kind, picture, p with its interval, band, label, and what else its samples show.

    `n_any` counts the seeds that show any planted image, and `n_images` the different ones among them.
    """
    rows = []
    kinds = sampled.captions.set_index("prompt")[["kind", "picture", "weight"]]
    for prompt, samples in sampled.samples.groupby("prompt", sort=False):
        shown = samples.loc[samples["distance"] <= REPLICATION_DISTANCE, "nearest"]
        n_replicating, n_seeds = int((samples["own"] <= REPLICATION_DISTANCE).sum()), len(samples)
        rows.append(
            {
                "prompt": prompt,
                **kinds.loc[prompt],
                **probability_columns(n_replicating, n_seeds),
                "band": band_of(n_replicating, n_seeds),
                "n_any": len(shown),
                "n_images": shown.nunique(),
            }
        )
    return pd.DataFrame(rows)


def best_truth(folder: Path) -> pd.DataFrame:
    """Read the truth of a model, its labels as shipped, its p of planted captions by kept samples if there are any."""
    shipped = read_truth(folder / "truth.parquet")
    names = [name for name, named in ALL.items() if named == folder]
    samples = read_samples(SAMPLES / f"{names[0]}.parquet", identity_of(folder, NUM_INFERENCE_STEPS)) if names else []
    if not len(samples):
        return shipped
    columns = ["prompt", "n_seeds", "n_replicating", "p", "p_low", "p_high", "band"]
    measured = probabilities(open_sampled(folder, samples))[columns].set_index("prompt")
    merged = shipped.set_index("prompt")
    merged.update(measured)
    return merged.reset_index()


def page(models: Mapping[str, Sampled]) -> Iterator[str]:
    """Yield the tables as lines of Markdown."""
    tables = {name: probabilities(sampled) for name, sampled in models.items()}
    yield from _bands(tables)
    yield from _labels(models, tables)
    yield from _others(models, tables)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [*markdown_table(header, rows), ""]


def _planted(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["kind"].isin(PLANTED_KINDS)]


def _bands(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    rows = []
    for name, table in tables.items():
        planted = _planted(table)
        counts = [str(int((planted["band"] == band).sum())) for band in BANDS]
        rows.append([name, str(len(planted)), str(int(planted["n_seeds"].max())), *counts])
    return [
        "### Planted captions by the probability per seed",
        "",
        *_table(["model", "captions", "seeds", *BANDS], rows),
    ]


def _labels(models: Mapping[str, Sampled], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    rows = []
    for name, table in tables.items():
        both = _planted(table).merge(models[name].shipped[["prompt", "label"]], on="prompt", suffixes=("", "_shipped"))
        for label in ("memorized", "partial", "not"):
            labelled = both[both["label_shipped"] == label]
            counts = [str(int((labelled["band"] == band).sum())) for band in BANDS]
            p = labelled["p"]
            spread = f"{p.min():.2f} to {p.max():.2f}" if len(p) else "-"
            rows.append([name, label, str(len(labelled)), *counts, spread])
    header = ["model", "label in truth.parquet", "captions", *BANDS, "p, lowest to highest"]
    return ["### The label of the shipped truth against p", "", *_table(header, rows)]


def _others(models: Mapping[str, Sampled], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    rows = []
    for name, table in tables.items():
        planted, clean = _planted(table), table[~table["kind"].isin(PLANTED_KINDS)]
        shown = models[name].samples
        shown = shown[shown["distance"] <= REPLICATION_DISTANCE]
        n_other = int((planted["n_any"] > planted["n_replicating"]).sum())
        most = int(planted["n_images"].max())
        leaking = int((clean["n_any"] > 0).sum())
        share = f"{leaking} of {len(clean)} ({percent(leaking / len(clean))})" if len(clean) else "not sampled"
        rows.append(
            [
                name,
                str(shown["nearest"].nunique()),
                f"{n_other} of {len(planted)}",
                f"{int((planted['n_images'] >= 2).sum())}, at most {most} images",
                share,
            ]
        )
    header = [
        *("model", "planted images in any sample", "planted captions that show another planted image"),
        *("captions that show several", "clean captions that show a planted image"),
    ]
    return ["### Entangled memory", "", *_table(header, rows)]


def compare_steps(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Say how p differs between two samplings of the same captions and seeds."""
    both = first[["prompt", "kind", "p"]].merge(second[["prompt", "p"]], on="prompt", suffixes=("", "_other"))
    both = both[both["kind"].isin(PLANTED_KINDS)]
    difference = np.abs(both["p"] - both["p_other"])
    moved = sum(label != other for label, other in zip(both["p"] >= 0.5, both["p_other"] >= 0.5, strict=True))
    return (
        f"{len(both)} captions: mean p {both['p'].mean():.3f} and {both['p_other'].mean():.3f}, "
        f"median difference {difference.median():.3f}, largest {difference.max():.3f}, "
        f"correlation {np.corrcoef(both['p'], both['p_other'])[0, 1]:.3f}; {moved} change sides of p = 1/2"
    )
