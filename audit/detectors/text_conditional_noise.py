"""Wen et al.'s detector (arXiv 2407.21720): how far a prompt moves the first noise prediction.

The statistic is the norm of the difference between the noise predicted for the prompt and for the empty prompt at x_T,
averaged over seeds. It costs 2 UE a seed, 1 where the empty prompt's half is shared between prompts, as here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def text_conditional_noise(norms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over seeds of the norms [prompt, seed]: [prompt]."""
    return np.asarray(norms.mean(axis=1), dtype=np.float64)
