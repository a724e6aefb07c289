"""`make bench-verdict`: fit the verdict's weights on planted models, and measure its precision on each left out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from flashbulb.audit.model.loading import flushed_denormals
from flashbulb.audit.recover.signs import WEIGHTS
from flashbulb.reports.tables.limits import CONFIRMED_AT, LIKELY_AT
from tests.bench.models import FIRST, MODELS
from tests.bench.outcomes import outcomes


def main() -> None:
    """Print outcomes by source, precision on each model left out, and the weights to ship."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/verdict"), help="where outcomes are kept")
    parser.add_argument("models", nargs="*", default=FIRST)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    frames = []
    for name in arguments.models:
        path = arguments.work / f"{name}.parquet"
        if not path.is_file():
            with flushed_denormals():
                outcomes(MODELS[name]).to_parquet(path)
        frames.append(pd.read_parquet(path).assign(model=name))
    table = pd.concat(frames, ignore_index=True)
    counts = table.groupby(["model", "source"]).agg(
        outcomes=("is_memory", "size"), memories=("is_memory", "sum"), looked_at=("looked", "sum")
    )
    print(counts.to_string())
    looked = table[table["looked"]].reset_index(drop=True)
    names = list(WEIGHTS)
    print(
        "\nleft out         n  memories   AUC   confirmed: n  precision  share of memories   likely or more: precision"
    )
    for name in arguments.models:
        rest, test = looked[looked["model"] != name], looked[looked["model"] == name]
        if len(rest) and len(test):
            print(_line(name, test, _fit(rest, names).predict_proba(test[names])[:, 1].tolist()))
    model = _fit(looked, names)
    scaler, regression = model[0], model[-1]
    weights = regression.coef_[0] / scaler.scale_
    intercept = float(regression.intercept_[0] - (weights * scaler.mean_).sum())
    print(f"\nINTERCEPT = {intercept:.3f}")
    print(f"WEIGHTS = {dict(zip(names, weights.round(3).tolist(), strict=True))}")


def _fit(table: pd.DataFrame, names: Sequence[str]) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(table[list(names)], table["is_memory"])


def _line(name: str, table: pd.DataFrame, confidence: Sequence[float]) -> str:
    truth, values = table["is_memory"], pd.Series(confidence, index=table.index)
    auc = f"{roc_auc_score(truth, values):.3f}" if truth.nunique() == 2 else "  -  "
    confirmed, likely = values >= CONFIRMED_AT, values >= LIKELY_AT
    return (
        f"{name:12s} {len(table):5d} {truth.sum():9d}  {auc} {confirmed.sum():14d} {_share(truth[confirmed]):>10s} "
        f"{_share(confirmed[truth]):>18s} {_share(truth[likely]):>27s}"
    )


def _share(flags: pd.Series) -> str:
    return f"{flags.mean():.3f}" if len(flags) else "-"


if __name__ == "__main__":
    main()
