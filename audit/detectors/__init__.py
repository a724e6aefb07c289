"""Detectors: each gives a prompt one score, where higher means more suspicious.

A detector is a file of this package that defines `DETECTOR`; no other registration is needed. Its class says what it
reads: recorded neurons, one step at x_T, or sampled images. UE is one evaluation of the denoiser for one latent.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # listing detectors does not import torch
    from torch import Tensor

    from flashbulb.audit.detectors.views import SampledPrompt, Step

Matrix = npt.NDArray[np.float32]  # [prompt, neuron]
Vector = npt.NDArray[np.float64]  # [prompt]
Learnt = Mapping[str, npt.NDArray[np.float64]]  # by name


@dataclass(frozen=True, slots=True)
class NeuronDetector:
    """A detector of recorded neurons, fitted on reference prompts.

    Args:
        name: its column in scores.parquet.
        source: authors, year and arXiv number of the paper.
        kind: kind of the sites it reads.
        reduction: reduction of their activations that it reads.
        evaluations_per_seed: UE per prompt and seed if it were the only detector.
        fit: takes the reference's activations [prompt, neuron] and returns what scores depend on, as named arrays.
        score: takes these arrays and activations [prompt, neuron] and returns [prompt], each prompt by itself.
    """

    name: str
    source: str
    kind: str
    reduction: str
    evaluations_per_seed: int
    fit: Callable[[Matrix], Learnt]
    score: Callable[[Learnt, Matrix], Vector]


@dataclass(frozen=True, slots=True)
class StepDetector:
    """A detector of one step at x_T; a prompt's score is the mean over seeds.

    Args:
        evaluations_per_seed: UE per prompt and seed if it were the only detector, including the evaluation at x_T.
            The empty prompt at x_T is evaluated once for all prompts and is not counted.
        measure: returns [prompt, seed], NaN where more than one seed is needed.
        reads_attention: chooses the layers that it reads in `Step.attention`, of the paths of all cross-attention
            layers. A model where it chooses none lacks what the detector reads. None if it reads no attention.
        empty_timesteps: where it asks for `Step.seeds.unconditional`, besides x_T; a recorder evaluates it once there.
    """

    name: str
    source: str
    evaluations_per_seed: int
    measure: Callable[[Step], Tensor]
    reads_attention: Callable[[Collection[str]], Collection[str]] | None = None
    empty_timesteps: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageDetector:
    """A detector of the images sampled for a prompt; prompts that are not sampled have no score.

    Args:
        evaluations_per_image: UE per image, in addition to sampling it.
        reads_attention: True if it reads cross-attention.
        reads_up_blocks: True if it reads the up blocks of a UNet.
    """

    name: str
    source: str
    evaluations_per_image: int
    measure: Callable[[SampledPrompt], float]
    reads_attention: bool = False
    reads_up_blocks: bool = False


Detector = NeuronDetector | StepDetector | ImageDetector


def find_detectors() -> dict[str, Detector]:
    """Return every detector of this package, by name."""
    found: dict[str, Detector] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        detector = getattr(importlib.import_module(module.name), "DETECTOR", None)
        if detector is not None:
            found[detector.name] = detector
    return found


def describe_cost(detector: Detector) -> str:
    """Return the UE per prompt with n seeds and m images, if it were the only detector."""
    if isinstance(detector, NeuronDetector | StepDetector):
        per_seed = detector.evaluations_per_seed
        return "0" if per_seed == 0 else "n" if per_seed == 1 else f"{per_seed} n"
    per_image = detector.evaluations_per_image
    return "sampling" if per_image == 0 else f"sampling + {'' if per_image == 1 else f'{per_image} '}m"


def describe_input(detector: Detector) -> str:
    """Return what a detector reads, in words."""
    if isinstance(detector, NeuronDetector):
        return f"{detector.kind} neurons"
    if isinstance(detector, StepDetector):
        return "attention at x_T" if detector.reads_attention else "prediction at x_T"
    return "sampled images"
