"""Signs that leave no doubt, whatever the weights of the day."""

from __future__ import annotations

from dataclasses import fields, replace

from flashbulb.audit.recover.signs import DRIVEN, PLAIN, Signs

NEUTRAL = Signs(**{field.name: 0.0 for field in fields(Signs)})
_WEIGHTS = {**PLAIN.weights, **DRIVEN.weights}
_OF_AN_IMAGE = {"shift_distance": 0.0}  # neither a plain colour nor a regular pattern
CONVINCING = replace(NEUTRAL, **{name: 100.0 if weight > 0 else -100.0 for name, weight in _WEIGHTS.items()})
UNCONVINCING = replace(
    NEUTRAL, **{name: -100.0 if weight > 0 else 100.0 for name, weight in _WEIGHTS.items()} | _OF_AN_IMAGE
)
