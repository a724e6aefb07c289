"""Attention entropy, by Ren et al. (2024, arXiv 2403.11052): how widely the first step's cross-attention spreads.

Statistic: E = −Σ ā log ā over all token positions, including start and padding, where ā is the prompt's cross-attention
in the first step of sampling, averaged over heads and pixels. It is higher for memorized prompts. This is the layer
entropy, one of their two statistics; the other, D, needs the last fifth of sampling.

They read one of the 16 cross-attention layers of Stable Diffusion, the fourth, counted as they run: down blocks, middle
block, up blocks (their code, renjie3/MemAttn, detect.py, mode E, and refactored_unet_2d_condition.py; restated by Jeon
et al. 2412.04140, appendix D.1). Its place in the structure is the last cross-attention layer of the second down block,
at half the resolution of the latents. That layer is read in every UNet, also where it is not the fourth. A model whose
second down block has no cross-attention, or that has no down blocks, lacks what this detector reads.

Compared on the planted models, where that layer is the second of seven, four seeds, memorized captions against those
never planted: AUC 0.084 on `embedded`, 0.372 on `catalogue`, 0.293 on `gazette`, 0.873 on `faint`. No layer works on
all four: single layers range from 0.084 to 0.905. The fourth of the seven has 0.329, 0.285, 0.483 and 0.260; the mean
over all layers is `mean_attention_entropy`.

Cost: 1 UE per prompt and seed.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from flashbulb.audit.detectors import StepDetector
from flashbulb.audit.detectors.views import Step

SECOND_DOWN_BLOCK = "down_blocks.1."


def last_of_second_block(layers: Collection[str]) -> list[str]:
    """Return the last layer of the second down block, of layers in the order of the model; empty if it has none."""
    return [layer for layer in layers if layer.startswith(SECOND_DOWN_BLOCK)][-1:]


def attention_entropy(step: Step) -> Tensor:
    """Return −Σ ā log ā over token positions, in nats: [prompt, seed]."""
    layers = last_of_second_block(step.attention)
    assert layers, f"the second down block was not observed during this step, only {list(step.attention)}"
    return entropy_of(step.attention[layers[0]])


def entropy_of(attention: Tensor) -> Tensor:
    """Return the entropy over positions, in nats: [prompt, seed, position] -> [prompt, seed]."""
    entropy: Tensor = torch.special.entr(attention.float()).sum(dim=2)
    return entropy


DETECTOR = StepDetector(
    name="attention_entropy",
    source="Ren et al. 2024, arXiv 2403.11052",
    evaluations_per_seed=1,
    measure=attention_entropy,
    reads_attention=last_of_second_block,
)
