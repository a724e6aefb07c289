"""Memory layouts of a UNet's weights: channels last beside what diffusers loads, on small and larger UNets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel

from tests.bench.speed.ratios import take_turns


class Shape(NamedTuple):
    """A UNet of Stable Diffusion 1's layout with random weights: its widths, and the side of its latents."""

    name: str
    widths: tuple[int, ...]
    side: int


SHAPES = (
    Shape("0.9 M", (32, 48, 64, 64), 16),
    Shape("5 M", (64, 128, 128, 128), 16),
    Shape("21 M", (128, 256, 256), 16),
)


def build_unet(shape: Shape) -> UNet2DConditionModel:
    """Return the UNet, with cross-attention in every block but the last."""
    torch.manual_seed(0)
    n_attending = len(shape.widths) - 1
    return UNet2DConditionModel(
        sample_size=shape.side,
        block_out_channels=shape.widths,
        down_block_types=("CrossAttnDownBlock2D",) * n_attending + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * n_attending,
        cross_attention_dim=768,
        attention_head_dim=8,
        norm_num_groups=16,
    ).eval()


@torch.no_grad()
def measure_layouts(shape: Shape, batch_size: int, n_turns: int) -> tuple[float, float, float]:
    """Return millions of weights, and CPU milliseconds of an evaluation: as loaded, and with channels last."""
    plain, last = build_unet(shape), build_unet(shape).to(memory_format=torch.channels_last)
    latents, text = torch.randn(batch_size, 4, shape.side, shape.side), torch.randn(batch_size, 77, 768)

    def way(unet: UNet2DConditionModel) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return unet(latents, 981, encoder_hidden_states=text)

        return run

    seconds = take_turns({"plain": way(plain), "last": way(last)}, n_turns)
    n = sum(weight.numel() for weight in plain.parameters()) / 1e6
    return n, *(1e3 * min(seconds[name]) / batch_size for name in ("plain", "last"))
