"""Ren et al.'s detector (arXiv 2403.11052): how widely the first step's cross-attention spreads over the tokens.

Of their two statistics we use the layer entropy: E = −Σ ā log ā over all token positions, start and padding included,
where ā is the prompt's attention in the first step of sampling, averaged over heads and pixels; higher is memorized.
They read one layer, Stable Diffusion's fourth (their code, renjie3/MemAttn, detect.py, mode E; Jeon et al. 2412.04140,
appendix D.1, restate it). A layer's number means nothing in another UNet, so we take the mean of E over all
cross-attention layers: our choice. The other statistic, D, needs the last fifth of sampling. It costs 1 UE a seed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.detectors import StepDetector
from audit.step import Step


def attention_entropy(step: Step) -> Tensor:
    """−Σ ā log ā over token positions in nats, mean over layers, of each prompt and seed: [prompt, seed]."""
    assert step.attention, "attention was not observed during this step"
    by_layer = torch.stack([attention.float() for attention in step.attention.values()])
    entropy: Tensor = torch.special.entr(by_layer).sum(
        dim=3
    )  # [layer, prompt, seed, position] -> [layer, prompt, seed]
    return entropy.mean(dim=0)


DETECTOR = StepDetector(
    name="attention_entropy",
    source="Ren et al. 2024, arXiv 2403.11052",
    evaluations_per_seed=1,
    measure=attention_entropy,
    reads_attention=True,
)
