"""`make bench-verdict`: fit the verdict's weights on planted models, and measure its precision on each left out.

Plain samples, and what a model is driven to by blind starts and by ascents from clean captions, are fitted apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from flashbulb.audit.recover.outcome import MIN_AGREEMENT
from flashbulb.audit.recover.signs import DRIVEN, PLAIN, Signs, is_doubted
from flashbulb.audit.run.torch_state import computing
from flashbulb.reports.tables.limits import CONFIRMED_AT, LIKELY_AT
from tests.bench.models import FIRST, MODELS
from tests.bench.outcomes import caption_outcomes, driven_outcomes

JUDGES = ("folio",)
"""Models that no weights are fitted on."""


def main() -> None:
    """Print outcomes by source, precision on each model left out, and the weights to ship."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/verdict"), help="where outcomes are kept")
    parser.add_argument("models", nargs="*", default=[*FIRST, *JUDGES])
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    captions = _outcomes(arguments.work, "captions", caption_outcomes, arguments.models)
    print("plain samples\n" + _counts(captions))
    looked = _looked(captions)
    for name in arguments.models:
        print(_plain_line(name, captions, looked, list(PLAIN.weights)))
    print(_weights(looked, list(PLAIN.weights)))
    driven = _outcomes(arguments.work, "driven", driven_outcomes, [m for m in arguments.models if m not in JUDGES])
    everything = pd.concat([captions, driven], ignore_index=True)
    print("\ndriven outcomes, fitted together with plain samples\n" + _counts(driven))
    for name in driven["model"].unique():
        print(_driven_line(name, _looked(driven), _looked(everything), list(DRIVEN.weights)))
    print(_weights(_looked(everything), list(DRIVEN.weights)))


def _outcomes(work: Path, kind: str, make: Callable[[Path], pd.DataFrame], models: Sequence[str]) -> pd.DataFrame:
    frames = []
    for name in models:
        path = work / f"{name}-{kind}.parquet"
        if not path.is_file():
            with computing():
                make(MODELS[name]).to_parquet(path)
        frames.append(pd.read_parquet(path).assign(model=name))
    return pd.concat(frames, ignore_index=True)


def _counts(table: pd.DataFrame) -> str:
    counted = table.groupby(["model", "source"]).agg(
        outcomes=("is_memory", "size"), memories=("is_memory", "sum"), looked_at=("looked", "sum")
    )
    return str(counted.to_string())


def _looked(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["looked"]].reset_index(drop=True)


def _fitted_on(table: pd.DataFrame, left_out: str) -> pd.DataFrame:
    return table[(table["model"] != left_out) & ~table["model"].isin(JUDGES)]


def _fit(table: pd.DataFrame, names: Sequence[str]) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(table[list(names)], table["is_memory"])


def _plain_line(name: str, captions: pd.DataFrame, looked: pd.DataFrame, names: Sequence[str]) -> str:
    """What verdicts on plain samples show of the memories that half of them show, and of clean captions."""
    test = looked[looked["model"] == name]
    confidence = _fit(_fitted_on(looked, name), names).predict_proba(test[list(names)])[:, 1]
    signs = [Signs(**row) for row in test[[field.name for field in fields(Signs)]].to_dict("records")]
    doubted = pd.Series([is_doubted(sign) for sign in signs], index=test.index, dtype=bool)
    confirmed = (confidence >= CONFIRMED_AT) & ~doubted & (test["agreement"] >= MIN_AGREEMENT["confirmed"])
    shown = confirmed | ((confidence >= LIKELY_AT) & (test["agreement"] >= MIN_AGREEMENT["likely"]))
    right, is_clean = test["is_memory"], test["source"] == "clean caption"
    model_captions = captions[captions["model"] == name]
    planted = model_captions[model_captions["source"] == "planted caption"]
    return (
        f"{name:10s} memories {planted['is_memory'].sum()}: confirmed {(confirmed & ~is_clean).sum()}, "
        f"right {(confirmed & ~is_clean & right).sum()}; shown {(shown & ~is_clean).sum()}, "
        f"right {(shown & ~is_clean & right).sum()} | clean {len(model_captions) - len(planted)}: "
        f"confirmed {(confirmed & is_clean).sum()}, shown {(shown & is_clean).sum()}, "
        f"of which copies {(shown & is_clean & right).sum()}"
    )


def _driven_line(name: str, driven: pd.DataFrame, everything: pd.DataFrame, names: Sequence[str]) -> str:
    test = driven[driven["model"] == name]
    confidence = _fit(_fitted_on(everything, name), names).predict_proba(test[list(names)])[:, 1]
    truth, values = test["is_memory"], pd.Series(confidence, index=test.index)
    confirmed, likely = values >= CONFIRMED_AT, values >= LIKELY_AT
    return (
        f"{name:10s} {len(test)} looked at, {truth.sum()} memories, AUC {roc_auc_score(truth, values):.3f}; confirmed "
        f"{confirmed.sum()}, precision {_share(truth[confirmed])}, share {_share(confirmed[truth])}; "
        f"likely or more: precision {_share(truth[likely])}"
    )


def _weights(table: pd.DataFrame, names: Sequence[str]) -> str:
    model = _fit(table[~table["model"].isin(JUDGES)], names)
    scaler, regression = model[0], model[-1]
    weights = regression.coef_[0] / scaler.scale_
    intercept = float(regression.intercept_[0] - (weights * scaler.mean_).sum())
    return f"Regression({intercept:.3f}, {dict(zip(names, weights.round(3).tolist(), strict=True))})"


def _share(flags: pd.Series) -> str:
    return f"{flags.mean():.3f}" if len(flags) else "-"


if __name__ == "__main__":
    main()
