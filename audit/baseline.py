"""Learn how neurons behave on reference prompts: location and scale of each, and the directions of style.

Style (which kind of caption this is) moves many neurons together and lies in the leading principal components of
the z-scores; recall of a single picture lies outside them. Projecting them out leaves what is peculiar to a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.utils.extmath import randomized_svd

Matrix = npt.NDArray[np.float32]  # [prompt, neuron]

Z_CLIP = 30.0
"""z-scores are clipped here before components are fitted or removed, so that no single spike shapes a direction."""

MAD_TO_DEVIATION = 1.4826
_ROUNDING = 2.0**-9  # two steps of float16, relative to the magnitude


@dataclass(frozen=True, slots=True)
class Baseline:
    """Per-neuron location and scale, [neuron], and orthonormal style components, [component, neuron]."""

    location: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    components: Matrix


def fit_baseline(activations: Matrix, n_components: int) -> Baseline:
    """Fit location (median), scale (median absolute deviation) and leading components over prompts.

    Median and MAD keep memorized prompts among the reference from widening the scale. A neuron whose activation hardly
    varies gets a floor: a hundredth of the median scale, and two steps of float16 at its own magnitude, so that a
    constant neuron cannot spike on rounding.

    Args:
        activations: [prompt, neuron]; rows of an absent token class are NaN and left out.
        n_components: at most this many; never more than a quarter of the prompts.

    Raises:
        ValueError: fewer than two prompts, from which no scale can be learnt.
    """
    present = activations[~np.isnan(activations).any(axis=1)]
    if len(present) < 2:
        raise ValueError(f"a baseline needs at least 2 reference prompts, got {len(present)}; give more")
    location = np.median(present, axis=0)
    scale = MAD_TO_DEVIATION * np.median(np.abs(present - location), axis=0)
    typical = float(np.median(scale[scale > 0])) if (scale > 0).any() else 1.0
    scale = np.maximum(scale, np.maximum(0.01 * typical, _ROUNDING * np.abs(location)))
    n_kept = min(n_components, len(present) // 4)
    empty = np.zeros((0, activations.shape[1]), dtype=np.float32)
    bare = Baseline(location.astype(np.float32), scale.astype(np.float32), empty)
    if n_kept == 0:
        return bare
    z = z_scores(present, bare)
    _, values, directions = randomized_svd(z, n_kept, n_oversamples=20, n_iter=7, random_state=0)
    kept = values > 1e-3 * max(float(values[0]), 1e-6)
    return Baseline(bare.location, bare.scale, directions[kept].astype(np.float32))  # [component, neuron]


def z_scores(activations: Matrix, baseline: Baseline) -> Matrix:
    """Distance from the baseline in scales, clipped, style removed: [prompt, neuron]; 0 where the class is absent."""
    z = np.clip((activations - baseline.location) / baseline.scale, -Z_CLIP, Z_CLIP)
    z = np.nan_to_num(z, nan=0.0)
    if len(baseline.components):
        z = z - (z @ baseline.components.T) @ baseline.components
    return np.asarray(z, dtype=np.float32)
