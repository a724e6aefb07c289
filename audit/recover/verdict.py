"""From signs to a calibrated probability that a memory is shown, and to a verdict.

A logistic regression on the signs, fitted on outcomes of planted models whose truth is known: memorized and clean
captions, blind searches, and ascents from clean captions (`make bench-verdict` makes them, fits, and measures the
precision on each model of a fit on the others).
"""

from __future__ import annotations

import math

from audit.recover.signs import Signs

CONFIRMED_AT, LIKELY_AT = 0.9, 0.5

INTERCEPT = -11.904
WEIGHTS = {"survival": -0.956, "denoising_error": -1.692, "autoencoding_error": -1.443}


def confidence_of(signs: Signs) -> float:
    """Probability that the pictures with these signs show a memory, in [0, 1]."""
    logit = INTERCEPT + sum(weight * getattr(signs, name) for name, weight in WEIGHTS.items())
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))


def verdict_of(confidence: float) -> str:
    """confirmed from `CONFIRMED_AT` on, likely from `LIKELY_AT` on, else not_shown."""
    if confidence >= CONFIRMED_AT:
        return "confirmed"
    return "likely" if confidence >= LIKELY_AT else "not_shown"
