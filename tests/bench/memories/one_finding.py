"""One finding a prompt, the rule before every sample was looked at by itself: its figures on the same samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import expit

from flashbulb.audit.images.distances import RgbImage, RgbImages, agrees, medoid, seed_agreement
from flashbulb.audit.recover.memories import Memory
from flashbulb.audit.recover.signs import Signs, verdict_of
from flashbulb.reports.tables.limits import TEMPLATE, VERBATIM
from tests.bench.memories.audited import Result
from tests.bench.memories.shown import Shown

_SHARE = {"confirmed": 0.5, "likely": 0.75}
_INTERCEPT = -11.904
_WEIGHTS = {"survival": -0.956, "denoising_error": -1.692, "autoencoding_error": -1.443}
"""Shares that must agree and weights of signs as they were then, so that these figures stay when the rule changes."""


def one_finding(result: Result) -> Iterator[Shown]:
    """Yield the image that each prompt shows, if it shows one: a copy, a template, or what enough seeds agree on."""
    for prompt in result.recovered:
        sampled, first = result.samples[prompt.position], prompt.attempts[0]
        copies = [m for m in prompt.memories if m.outcome.kind == VERBATIM]  # each at its closest
        verdict, image = _agreeing(sampled.images, sampled.signs)
        if copies:
            verdict, image = "confirmed", min(copies, key=_distance).image
        elif result.is_given and first.outcome.kind == TEMPLATE:
            verdict, image = "likely", first.image
        elif result.is_given and verdict == "confirmed":
            verdict = "likely"
        if verdict != "not_shown":
            yield Shown(prompt.position, prompt.is_control, verdict, image)


def _distance(memory: Memory) -> float:
    return np.inf if memory.outcome.nearest is None else memory.outcome.nearest.distance


def _confidence_of(signs: Signs) -> float:
    logit = _INTERCEPT + sum(weight * getattr(signs, name) for name, weight in _WEIGHTS.items())
    return float(expit(logit))


def _agreeing(images: RgbImages, signs: Signs | None) -> tuple[str, RgbImage]:
    """Return the medoid, with the verdict of its signs if enough seeds agree."""
    verdict = verdict_of(_confidence_of(signs)) if signs is not None else "not_shown"
    is_shown = agrees(seed_agreement(images), len(images), _SHARE.get(verdict, 0.0))
    return verdict if is_shown else "not_shown", images[medoid(images)]
