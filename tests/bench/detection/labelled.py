"""Detection figures of one audited planted model: every score column against the measured truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from flashbulb.audit.statistics.separation import auc, tpr_at_fpr
from flashbulb.reports.views.markdown_parts import table
from tests.bench.truth.probabilities import best_truth

ODD_KINDS = ("rare_word", "long", "other_alphabet", "gibberish")
FPR = 0.01


def labelled_scores(folder: Path, run: Path) -> pd.DataFrame:
    """scores.parquet with `kind`, `label`, and p with its `band`; captions without a training image have no p.

    The label is that of truth.parquet: memorized (p >= 1/2), partial, not (trained on, not memorized), clean (unseen).
    p is by 64 seeds where samples are kept (`make bench-truth`), else by the seeds of truth.parquet.
    """
    captions = pd.read_csv(folder / "captions.csv", keep_default_na=False)
    truth = best_truth(folder)[["prompt", "label", "n_seeds", "p", "band"]]
    scores = pd.read_parquet(run / "scores.parquet")
    labelled = scores.merge(captions[["prompt", "kind"]], on="prompt").merge(truth, on="prompt", how="left")
    assert len(labelled) == len(scores), f"{len(scores)} scores, {len(labelled)} labelled"
    return labelled.assign(label=labelled["label"].fillna("clean"))


def negative_sets(labelled: pd.DataFrame) -> dict[str, pd.Series]:
    """Which prompts count as negatives, by name; partially memorized prompts are in none of them."""
    planted = labelled["kind"].str.startswith("planted")
    negative = labelled["label"].isin(["clean", "not"])
    kinds = {kind: negative & (labelled["kind"] == kind) for kind in ("seen", "unseen", "descriptive")}
    odd = {"odd": negative & labelled["kind"].isin(ODD_KINDS)}
    return {"all": negative & ~planted, **kinds, **odd, "planted, not memorized": negative & planted}


def detection_table(folder: Path, run: Path) -> str:
    """Markdown: AUC / TPR at FPR <= 1 % of every score column, against each set of negatives."""
    labelled = labelled_scores(folder, run)
    shown = ("spike", "text_conditional", "nemo", "one_step", "mean_one_step")
    columns = [c for c in labelled.columns if c.startswith(shown)]
    positive = labelled["label"] == "memorized"
    sets = negative_sets(labelled)
    rows = []
    for column in ["spike_score", *(c for c in columns if c != "spike_score")]:
        values = labelled[column].to_numpy()
        rows.append([column, *(_cell(values, positive.to_numpy(), mask.to_numpy()) for mask in sets.values())])
    lines = [
        f"{positive.sum()} memorized, {(labelled['label'] == 'partial').sum()} partial (left out); negatives: "
        + ", ".join(f"{name} {mask.sum()}" for name, mask in sets.items()),
        "",
        *table(["score", *sets], rows),
    ]
    flagged = labelled["flagged"].to_numpy()
    rates = [f"{name} {flagged[mask].mean():.2%}" for name, mask in sets.items() if mask.any()]
    lines += ["", f"flagged: memorized {flagged[positive].mean():.2%}; " + ", ".join(rates)]
    return "\n".join(lines)


def _cell(score: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> str:
    if not negative.any():
        return "-"
    return f"{auc(score[positive], score[negative]):.4f} / {tpr_at_fpr(score[positive], score[negative], FPR):.3f}"
