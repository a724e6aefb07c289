"""Mean attention entropy, after Ren et al. (2024, arXiv 2403.11052): their layer entropy, averaged over all layers.

Statistic: that of `attention_entropy`, in every cross-attention layer, and the mean over layers. They read one layer;
the mean is ours. It needs no layer at a certain place, so it is there in every UNet with cross-attention.

Compared on the planted models, four seeds, memorized captions against those never planted: AUC 0.262 on `embedded`,
0.393 on `catalogue`, 0.347 on `gazette`, 0.365 on `faint`. Single layers range from 0.084 to 0.905.

Cost: 1 UE per prompt and seed.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from flashbulb.audit.detectors import StepDetector
from flashbulb.audit.detectors.attention_entropy import entropy_of
from flashbulb.audit.detectors.views import Step


def all_layers(layers: Collection[str]) -> Collection[str]:
    """Return the layers unchanged."""
    return layers


def mean_attention_entropy(step: Step) -> Tensor:
    """Return −Σ ā log ā over token positions, in nats, averaged over layers: [prompt, seed]."""
    return torch.stack([entropy_of(attention) for attention in step.attention.values()]).mean(dim=0)


DETECTOR = StepDetector(
    name="mean_attention_entropy",
    source="after Ren et al. 2024, arXiv 2403.11052; the mean over layers is ours",
    evaluations_per_seed=1,
    measure=mean_attention_entropy,
    reads_attention=all_layers,
)
