"""Small data sets to plant canaries in, and what was planted there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from flashbulb.audit.canaries.planting import Planted, Planting, plant
from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.planted.captions import draw_unique_, poster_title
from flashbulb.audit.planted.images import paint_poster, random_poster
from flashbulb.audit.prompts.prompt_set import read_prompts

SIDE = 16
N_PAIRS = 60


def data_set(folder: Path, n: int = N_PAIRS) -> Path:
    """Write an imagefolder of posters and their titles."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = []
    for number, title in enumerate(draw_unique_(poster_title, n, rng, {""})):
        Image.fromarray(paint_poster(random_poster(rng), SIDE)).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": title}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def planting(images: Path, **changes: object) -> Planting:
    """Return what the tests plant: eighteen canaries that stand once or four times."""
    values: dict[str, object] = {
        "images": images,
        "n_canaries": 18,
        "repeats": (1, 4),
        "has_shared": False,
        "pool": None,
        "side": None,
        "format": "imagefolder",
        "with_data": False,
        "text_column": None,
        "seed": 1,
    }
    return Planting(**{**values, **changes})  # type: ignore[arg-type]


def planted_in(folder: Path, images: Path, **changes: object) -> Planted:
    """Plant canaries in an imagefolder."""
    return plant(planting(images, **changes), read_prompts(str(images)), folder)


def image_of(path: Path) -> RgbImage:
    """Read an image: [height, width, 3]."""
    return np.asarray(Image.open(path).convert("RGB"))
