"""Reduce an activation over space in one pass on a GPU, in Triton: the memory is read once, and no copy is written.

Import it only where a GPU computes: Triton is part of PyTorch's builds for GPUs alone, and it needs a C compiler.
"""

import torch
import triton  # type: ignore[import-not-found,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,unused-ignore]
from torch import Tensor

_PIXELS, _NEURONS, _WARPS = 128, 64, 8  # of a block that a program reads at a time


# Triton evaluates annotations on the GPU's behalf, so that there are none but its own.
@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _reduce(  # type: ignore[no-untyped-def]
    x, out, n_pixels, n_neurons, latent_stride, pixel_stride, pixels: tl.constexpr, neurons: tl.constexpr
):
    """Write the largest |x|, the mean of |x| and the mean of x of some neurons of one latent."""
    latent = tl.program_id(0).to(tl.int64)
    neuron = tl.program_id(1) * neurons + tl.arange(0, neurons)
    is_neuron = neuron < n_neurons
    largest = tl.zeros((pixels, neurons), tl.float32)
    magnitudes = tl.zeros((pixels, neurons), tl.float32)
    values = tl.zeros((pixels, neurons), tl.float32)
    for start in range(0, n_pixels, pixels):
        pixel = start + tl.arange(0, pixels)
        at = x + latent * latent_stride + pixel[:, None] * pixel_stride + neuron[None, :]
        value = tl.load(at, mask=(pixel < n_pixels)[:, None] & is_neuron[None, :], other=0.0).to(tl.float32)
        magnitude = tl.abs(value)
        largest = tl.maximum(largest, magnitude)
        magnitudes += magnitude
        values += value
    magnitude_mean = tl.sum(magnitudes, axis=0) / n_pixels
    greatest = tl.max(largest, axis=0)
    greatest = tl.where(magnitude_mean == magnitude_mean, greatest, magnitude_mean)  # a maximum passes over NaN
    row = out + latent * 3 * n_neurons + neuron
    tl.store(row, greatest, mask=is_neuron)
    tl.store(row + n_neurons, magnitude_mean, mask=is_neuron)
    tl.store(row + 2 * n_neurons, tl.sum(values, axis=0) / n_pixels, mask=is_neuron)


def reduce_over_space(x: Tensor) -> Tensor:
    """Return the maximum and mean of |x|, and the mean of x: [latent, pixel, neuron] -> float32 [latent, 3, neuron]."""
    x = x if x.stride(2) == 1 else x.contiguous()
    n_latents, n_pixels, n_neurons = x.shape
    out = torch.empty(n_latents, 3, n_neurons, dtype=torch.float32, device=x.device)
    grid = (n_latents, triton.cdiv(n_neurons, _NEURONS))
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        _reduce[grid](
            *(x, out, n_pixels, n_neurons, x.stride(0), x.stride(1)),
            pixels=_PIXELS,
            neurons=_NEURONS,
            num_warps=_WARPS,
        )
    return out
