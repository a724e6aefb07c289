"""Where the source lies."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
