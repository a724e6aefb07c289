"""Signs that leave no doubt, whatever the weights of the day."""

from __future__ import annotations

from dataclasses import fields, replace

from flashbulb.audit.recover.signs import WEIGHTS, Signs

NEUTRAL = Signs(**{field.name: 0.0 for field in fields(Signs)})
CONVINCING = replace(NEUTRAL, **{name: 100.0 if weight > 0 else -100.0 for name, weight in WEIGHTS.items()})
UNCONVINCING = replace(NEUTRAL, **{name: -100.0 if weight > 0 else 100.0 for name, weight in WEIGHTS.items()})
