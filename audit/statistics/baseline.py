"""Fit the baseline of each neuron on reference prompts (location and scale), and the directions of style.

The style of a prompt moves many neurons together. It lies in the leading principal components of the z-scores, whereas
recall of a single image lies outside them. Projecting these components out leaves what is specific to a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.utils.extmath import randomized_svd

from flashbulb.audit.detectors import Matrix, Vector

Z_CLIP = 30.0
"""z-scores are clipped to ± this before components are fitted or removed: no single spike shapes a direction."""

MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution, in units of its median absolute deviation."""

_ROWS_AT_ONCE = 32  # of those that are squared in float64
_NEURONS_AT_ONCE = 256  # whose medians are taken, so that they fit into the cache
_ROUNDING = 2.0**-9  # two steps of float16, relative to the activation


@dataclass(frozen=True, slots=True)
class Baseline:
    """Location and scale of each neuron, [neuron], and orthonormal style components, [component, neuron]."""

    location: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    components: Matrix


def fit_baseline(activations: Matrix, n_components: int) -> Baseline:
    """Fit location (median), scale (scaled median absolute deviation, MAD) and leading components over prompts.

    With median and MAD, memorized prompts in the reference hardly widen the scale. The scale has a floor: a hundredth
    of the median scale, and two steps of float16 at the neuron's location. A constant neuron therefore does not spike
    on rounding errors.

    Args:
        activations: [prompt, neuron]; rows of an absent token class are NaN and are left out.
        n_components: upper limit; at most a quarter of the number of prompts is kept.

    Raises:
        ValueError: fewer than two prompts are left, too few for a scale.
    """
    present = activations[~np.isnan(activations).any(axis=1)]
    if len(present) < 2:
        raise ValueError(f"a baseline needs at least 2 reference prompts, got {len(present)}; give more")
    location, deviation = _medians(present)
    scale = MAD_TO_DEVIATION * deviation
    typical = float(np.median(scale[scale > 0])) if (scale > 0).any() else 1.0
    scale = np.maximum(scale, np.maximum(0.01 * typical, _ROUNDING * np.abs(location)))
    n_kept = min(n_components, len(present) // 4)
    no_components = np.zeros((0, activations.shape[1]), dtype=np.float32)
    with_style = Baseline(location.astype(np.float32), scale.astype(np.float32), no_components)
    if n_kept == 0:
        return with_style
    return replace(with_style, components=_components(z_scores(present, with_style), n_kept))


def _components(z: Matrix, n_components: int) -> Matrix:
    """Return the leading directions of z, orthonormal: [prompt, neuron] -> [component, neuron].

    There are far fewer prompts than neurons, so directions come from the inner products of prompts: their eigenvalues
    are the squared singular values of z.
    """
    prompts, squares, _ = randomized_svd(z @ z.T, n_components, n_oversamples=20, n_iter=3, random_state=0)
    values = np.sqrt(squares)
    kept = values > 1e-3 * max(float(values[0]), 1e-6)
    directions, _ = np.linalg.qr(z.T @ prompts[:, kept])
    return np.ascontiguousarray(directions.T, dtype=np.float32)


def _medians(activations: Matrix) -> tuple[Matrix, Matrix]:
    """Return the median of each neuron and its median absolute deviation: [prompt, neuron] -> [neuron] twice.

    They equal those of `np.median`. Sorting a neuron once gives both, because the `n` activations that are nearest to
    the median stand side by side: the farther of their two ends is least.
    """
    n_prompts, n_neurons = activations.shape
    middle = sorted({(n_prompts - 1) // 2, n_prompts // 2})
    medians = np.empty((2, n_neurons), dtype=activations.dtype)
    for start in range(0, n_neurons, _NEURONS_AT_ONCE):
        some = slice(start, start + _NEURONS_AT_ONCE)
        ordered = np.ascontiguousarray(activations[:, some].T)  # [neuron, prompt]
        ordered.sort(axis=1)
        medians[0, some] = ordered[:, middle].mean(axis=1)
        distances = np.abs(ordered - medians[0, some, None])
        farthest = [np.maximum(distances[:, : n_prompts - n], distances[:, n:]).min(axis=1) for n in middle]
        medians[1, some] = np.mean(farthest, axis=0)
    return medians[0], medians[1]


def z_scores(activations: Matrix, baseline: Baseline) -> Matrix:
    """Return the distance from the baseline in units of its scale, clipped, with style removed: [prompt, neuron].

    It is 0 where the prompt lacks the token class.
    """
    z = activations - baseline.location
    z /= baseline.scale
    np.clip(z, -Z_CLIP, Z_CLIP, out=z)
    z[np.isnan(z)] = 0.0
    if len(baseline.components):
        z -= (z @ baseline.components.T) @ baseline.components
    return np.asarray(z, dtype=np.float32)


def spike_scores(matrix: Matrix, baselines: Sequence[Baseline], folds: npt.NDArray[np.int64] | None = None) -> Vector:
    """Return the root mean square of each prompt's z over neurons: [prompt, neuron] -> [prompt]; clean prompts about 1.

    Args:
        matrix: activations.
        folds: index of the baseline that each prompt is compared with: [prompt]; by default the only one.
    """
    return root_mean_squares(whiten(matrix, baselines, folds))


def mean_spike_scores(matrix: Matrix, baselines: Sequence[Baseline]) -> Vector:
    """Return the mean over baselines of the spike scores of prompts that made none: [prompt, neuron] -> [prompt]."""
    return np.asarray(np.mean([spike_scores(matrix, [baseline]) for baseline in baselines], axis=0))


def whiten(matrix: Matrix, baselines: Sequence[Baseline], folds: npt.NDArray[np.int64] | None) -> Matrix:
    """Return z of every prompt and neuron, each prompt by its own baseline: [prompt, neuron]."""
    if folds is None or len(baselines) == 1:
        return z_scores(matrix, baselines[0])
    z = np.empty(matrix.shape, dtype=np.float32)
    for fold, baseline in enumerate(baselines):
        z[folds == fold] = z_scores(matrix[folds == fold], baseline)
    return z


def root_mean_squares(z: npt.NDArray[np.floating]) -> Vector:
    """Return the root mean square over neurons: [prompt, neuron] -> [prompt]."""
    parts = (z[start : start + _ROWS_AT_ONCE] for start in range(0, len(z), _ROWS_AT_ONCE))
    means = [np.square(part, dtype=np.float64).mean(axis=1) for part in parts]
    return np.asarray(np.sqrt(np.concatenate([np.zeros(0), *means])))
