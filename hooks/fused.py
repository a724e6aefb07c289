"""Reduce an activation in one pass on a GPU, in Triton: the memory is read once, and no copy is written.

Import it only where a GPU computes: Triton is part of PyTorch's builds for GPUs alone, and it needs a C compiler.
"""

import torch
import triton  # type: ignore[import-not-found,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,unused-ignore]
from torch import Tensor

_PIXELS, _NEURONS, _WARPS = 128, 64, 8  # of a block that a program reads at a time
_POSITIONS, _NEURONS_OF_TOKENS, _WARPS_OF_TOKENS = 16, 128, 4


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


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _reduce_tokens(  # type: ignore[no-untyped-def]
    x,
    classes,
    out,
    n_positions,
    n_neurons,
    prompt_stride,
    position_stride,
    positions: tl.constexpr,
    neurons: tl.constexpr,
):
    """Write the reductions of |x| by token class, in the order of TOKEN_REDUCTIONS, of some neurons of one prompt."""
    prompt = tl.program_id(0).to(tl.int64)
    neuron = tl.program_id(1) * neurons + tl.arange(0, neurons)
    is_neuron = neuron < n_neurons
    start = tl.zeros((neurons,), tl.float32)
    words = tl.zeros((neurons,), tl.float32)
    end = tl.zeros((neurons,), tl.float32)
    padding = tl.zeros((neurons,), tl.float32)
    most_words = tl.zeros((neurons,), tl.float32)
    most_padding = tl.zeros((neurons,), tl.float32)
    n_start = tl.zeros((positions,), tl.float32)
    n_words = tl.zeros((positions,), tl.float32)
    n_end = tl.zeros((positions,), tl.float32)
    n_padding = tl.zeros((positions,), tl.float32)
    for first in range(0, n_positions, positions):
        position = first + tl.arange(0, positions)
        code = tl.load(classes + prompt * n_positions + position, mask=position < n_positions, other=-1)
        at = x + prompt * prompt_stride + position[:, None] * position_stride + neuron[None, :]
        value = tl.load(at, mask=(code >= 0)[:, None] & is_neuron[None, :], other=0.0).to(tl.float32)
        magnitude = tl.abs(value)
        magnitude = tl.where(magnitude == magnitude, magnitude, float("inf"))  # NaN means an absent class alone
        word_magnitude = tl.where((code == 1)[:, None], magnitude, 0.0)
        padding_magnitude = tl.where((code == 3)[:, None], magnitude, 0.0)
        start += tl.sum(tl.where((code == 0)[:, None], magnitude, 0.0), axis=0)
        end += tl.sum(tl.where((code == 2)[:, None], magnitude, 0.0), axis=0)
        words += tl.sum(word_magnitude, axis=0)
        padding += tl.sum(padding_magnitude, axis=0)
        most_words = tl.maximum(most_words, tl.max(word_magnitude, axis=0))
        most_padding = tl.maximum(most_padding, tl.max(padding_magnitude, axis=0))
        n_start += (code == 0).to(tl.float32)
        n_words += (code == 1).to(tl.float32)
        n_end += (code == 2).to(tl.float32)
        n_padding += (code == 3).to(tl.float32)
    words_in_all = tl.sum(n_words, axis=0)
    padding_in_all = tl.sum(n_padding, axis=0)
    row = out + prompt * 7 * n_neurons + neuron
    tl.store(row, (start + words + end + padding) / n_positions, mask=is_neuron)
    tl.store(row + n_neurons, start / tl.sum(n_start, axis=0), mask=is_neuron)  # 0 / 0 is NaN: the class is absent
    tl.store(row + 2 * n_neurons, words / words_in_all, mask=is_neuron)
    tl.store(row + 3 * n_neurons, tl.where(words_in_all > 0, most_words, float("nan")), mask=is_neuron)
    tl.store(row + 4 * n_neurons, end / tl.sum(n_end, axis=0), mask=is_neuron)
    tl.store(row + 5 * n_neurons, padding / padding_in_all, mask=is_neuron)
    tl.store(row + 6 * n_neurons, tl.where(padding_in_all > 0, most_padding, float("nan")), mask=is_neuron)


def reduce_over_tokens(x: Tensor, classes: Tensor) -> Tensor:
    """Reduce |x| by token class: [prompt, position, neuron] -> float32 [prompt, reduction, neuron].

    Args:
        classes: int8 [prompt, position]; positions of a negative class are not read.
    """
    x, classes = x if x.stride(2) == 1 else x.contiguous(), classes.contiguous()
    n_prompts, n_positions, n_neurons = x.shape
    out = torch.empty(n_prompts, 7, n_neurons, dtype=torch.float32, device=x.device)
    grid = (n_prompts, triton.cdiv(n_neurons, _NEURONS_OF_TOKENS))
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        _reduce_tokens[grid](
            *(x, classes, out, n_positions, n_neurons, x.stride(0), x.stride(1)),
            positions=_POSITIONS,
            neurons=_NEURONS_OF_TOKENS,
            num_warps=_WARPS_OF_TOKENS,
        )
    return out
