"""The planted models that benchmarks run on: where they lie."""

from __future__ import annotations

from pathlib import Path

from flashbulb.audit.planted.paths import FOLDER

_PLANTED = Path(__file__).parent / "planted"
MODELS = {"embedded": FOLDER, **{name: _PLANTED / name for name in ("catalogue", "gazette", "faint", "folio")}}
FIRST = ("embedded", "catalogue", "gazette", "faint")
"""Weights, limits and defaults were chosen with these;
`folio`, in Stable Diffusion XL's shape, came later and judges."""
