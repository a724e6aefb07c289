"""Attention entropy, by Ren et al. (2024, arXiv 2403.11052): how widely the first step's cross-attention spreads.

Statistic: E = −Σ ā log ā over all token positions, including start and padding, where ā is the prompt's cross-attention
in the first step of sampling, averaged over heads and pixels. It is higher for memorized prompts. This is the layer
entropy, one of their two statistics; the other, D, needs the last fifth of sampling.

They read one layer, the fourth of Stable Diffusion (their code, renjie3/MemAttn, detect.py, mode E; restated by Jeon et
al. 2412.04140, appendix D.1). A layer's number has no meaning in another UNet. The mean of E over all cross-attention
layers is our choice.

Cost: 1 UE per prompt and seed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashbulb.audit.detectors import StepDetector
from flashbulb.audit.detectors.views import Step


def attention_entropy(step: Step) -> Tensor:
    """Return −Σ ā log ā over token positions, in nats, averaged over layers: [prompt, seed]."""
    assert step.attention, "attention was not observed during this step"
    attention = torch.stack([layer.float() for layer in step.attention.values()])  # [layer, prompt, seed, position]
    entropy: Tensor = torch.special.entr(attention).sum(dim=3)  # [layer, prompt, seed]
    return entropy.mean(dim=0)


DETECTOR = StepDetector(
    name="attention_entropy",
    source="Ren et al. 2024, arXiv 2403.11052",
    evaluations_per_seed=1,
    measure=attention_entropy,
    reads_attention=True,
)
