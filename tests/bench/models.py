"""The planted models that benchmarks run on: where they lie."""

from __future__ import annotations

from pathlib import Path

from flashbulb.audit.planted.paths import FOLDER
from tests.paths import ROOT

_PLANTED = Path(__file__).parent / "planted"
MODELS = {"embedded": FOLDER, **{name: _PLANTED / name for name in ("catalogue", "gazette", "faint", "folio")}}
"""The models that ship."""
FIRST = ("embedded", "catalogue", "gazette", "faint")
"""Weights, limits and defaults were chosen with these;
`folio`, in Stable Diffusion XL's shape, came later and judges."""
TRAINED = {"graded": ROOT / "runs" / "planted-graded"}
"""Models that do not ship: whoever needs one trains it."""
ALL = {**MODELS, **TRAINED}


def folder_of(name: str) -> Path:
    """Return the folder of a planted model.

    Raises:
        SystemExit: it does not ship and is not trained yet; says how to train it.
    """
    folder = ALL[name]
    if not (folder / "manifest.json").is_file():
        raise SystemExit(f"{folder} holds no planted model; train it: make planted ARGS='--preset {name}'")
    return folder
