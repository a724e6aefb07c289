"""Detectors: each turns what is known of a prompt into one number, higher meaning more suspicious.

A detector is one file here that holds a `DETECTOR`; it is found by being here. What it needs decides its class:
recorded neurons, one step at x_T, or the pictures that sampling gave.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # torch is not needed to list detectors
    from torch import Tensor

    from audit.sampled_prompt import SampledPrompt
    from audit.step import Step

Matrix = npt.NDArray[np.float32]  # [prompt, neuron]
Vector = npt.NDArray[np.float64]  # [prompt]


@dataclass(frozen=True, slots=True)
class NeuronDetector:
    """Reads recorded neurons: `fit` learns from reference prompts how to score others.

    Args:
        name: its column in scores.parquet.
        source: the paper, with its number.
        kind: of the sites it reads.
        reduction: which of their columns.
        evaluations_per_seed: UE for each prompt and seed if it were the only detector.
        fit: from the reference's activations [prompt, neuron] to a function that scores such activations: [prompt].
    """

    name: str
    source: str
    kind: str
    reduction: str
    evaluations_per_seed: int
    fit: Callable[[Matrix], Callable[[Matrix], Vector]]


@dataclass(frozen=True, slots=True)
class StepDetector:
    """Reads one step at x_T: `measure` gives [prompt, seed], NaN where one seed is too few; the score is the mean.

    Args:
        evaluations_per_seed: UE for each prompt and seed if it were the only detector, the one at x_T included.
            Evaluations of the empty prompt at x_T are made once for all prompts and not counted.
        reads_attention: `Step.attention` has to be filled.
    """

    name: str
    source: str
    evaluations_per_seed: int
    measure: Callable[[Step], Tensor]
    reads_attention: bool = False


@dataclass(frozen=True, slots=True)
class PictureDetector:
    """Reads the pictures sampled from a prompt; the rest of the prompts get no value.

    Args:
        evaluations_per_picture: UE for each picture beyond its sampling.
    """

    name: str
    source: str
    evaluations_per_picture: int
    measure: Callable[[SampledPrompt], float]


Detector = NeuronDetector | StepDetector | PictureDetector


def available() -> dict[str, Detector]:
    """Every detector of this package, by name."""
    found: dict[str, Detector] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        detector = getattr(importlib.import_module(module.name), "DETECTOR", None)
        if detector is not None:
            found[detector.name] = detector
    return found
