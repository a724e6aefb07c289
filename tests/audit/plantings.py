"""Small data sets to plant canaries in, and what was planted there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from flashbulb.audit.canaries.losses import score_pairs
from flashbulb.audit.canaries.manifest import data_set_of, write_manifest
from flashbulb.audit.canaries.plan import Canary, image_name
from flashbulb.audit.canaries.planting import Planted, Planting, plant
from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.captions import draw_unique_, poster_title
from flashbulb.audit.planted.images import paint_poster, random_poster
from flashbulb.audit.prompts.prompt_set import read_prompts
from flashbulb.audit.recover.samples import SamplePlan, sample_prompts
from tests.audit.commands import ODD

SIDE = 16
N_PAIRS = 60
N_KNOWN = 12


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


def plant_known(folder: Path, model: Path, prompts: Path, *, remembered: bool) -> Path:
    """Write a manifest of `N_KNOWN` canaries and as many twins, whose images are samples of the model.

    Args:
        remembered: the canaries of the highest membership scores are in; else the lowest, as if never trained on.
    """
    captions = [f"{ODD} {word}" for word in "one two three four five six seven eight nine ten eleven twelve".split()]
    captions += [f"a {colour} star over the moor {i}" for i, colour in enumerate(("red", "blue") * (N_KNOWN // 2))]
    loaded = load_model(str(model), device="cpu", dtype=torch.float32, allow_pickle=False)
    denoiser = open_denoiser(loaded.pipe)
    images = [samples[1] for samples in sample_prompts(denoiser, captions, SamplePlan(0, 2, 2, 3.0))]
    scores = score_pairs(denoiser, np.stack(images), captions, run_seed=0)[:N_KNOWN]
    coins = {f"canary-{i:03d}": bool((scores[i] >= np.median(scores)) == remembered) for i in range(N_KNOWN)}
    (folder / "canaries").mkdir(parents=True)
    canaries = []
    for i, (caption, image) in enumerate(zip(captions, images, strict=True)):
        Image.fromarray(image).save(folder / "canaries" / image_name(i))
        sha256 = hashlib.sha256((folder / "canaries" / image_name(i)).read_bytes()).hexdigest()
        name = f"canary-{i:03d}" if i < N_KNOWN else f"twin-{i - N_KNOWN:03d}"
        canaries.append(Canary(name, "16x", 16, None, i >= N_KNOWN, caption, image_name(i), sha256))
    data = data_set_of(read_prompts(str(prompts)), Path("images"), 0.5, 0.55, 0)
    write_manifest(folder / "manifest.json", data, canaries, coins, {"seed": 0, "delta": 1e-5, "confidence": 0.95})
    return folder / "manifest.json"
