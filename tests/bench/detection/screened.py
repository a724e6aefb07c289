"""Tier 0 alone: how well the text side separates, and how many prompts need no denoiser."""

from __future__ import annotations

import numpy as np

from flashbulb.audit.statistics.separation import auc, tpr_at_fpr
from tests.bench.detection.ablation import Choice, score
from tests.bench.detection.recorded import Planted

TEXT_SIDE = Choice(kinds=("text_mlp", "cross_k", "cross_v"))
LOSS = 0.01
FPRS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5)
DEFAULT_SHARE = 0.5


def tier_zero(planted: Planted) -> list[str]:
    """AUC, the ROC at a few rates, the share that may be left out at a loss <= 1 %, and what the default leaves out."""
    scores = score(planted, TEXT_SIDE)
    positive, negative = scores[planted.memorized], scores[planted.negative]
    kept_from = np.sort(positive)[int(LOSS * len(positive))]
    threshold = np.quantile(scores[~planted.captions], DEFAULT_SHARE)
    return [
        f"{auc(positive, negative):.4f}",
        *(f"{tpr_at_fpr(positive, negative, fpr):.3f}" for fpr in FPRS),
        f"{(negative < kept_from).mean():.1%}",
        f"{(negative < threshold).mean():.1%}",
        f"{(positive < threshold).mean():.1%}",
    ]


HEADER = [
    "AUC",
    *(f"TPR at FPR {fpr:.1%}" for fpr in FPRS),
    "may be left out (loss <= 1 %)",
    "left out by default",
    "memorized lost by default",
]
