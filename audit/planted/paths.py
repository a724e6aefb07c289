"""Paths of the embedded model in the installed package."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "embedded"
MODEL = FOLDER / "model"
CAPTIONS = FOLDER / "captions.csv"
REFERENCE = FOLDER / "reference.csv"
IMAGES = FOLDER / "pictures"
