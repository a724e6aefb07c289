"""Sample the captions of a planted model by many seeds, and keep how far each sample is from the planted images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from flashbulb.audit.images.distances import N_TILES, RgbImages
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.model.sampling import sample_images
from flashbulb.audit.planted.collection import PLANTED_KINDS
from flashbulb.audit.planted.truth import GUIDANCE_SCALE, RUN_SEED
from flashbulb.audit.run.progress import track
from flashbulb.audit.run.torch_state import computing
from flashbulb.reports.tables.files import METADATA_KEY, atomic_write

CLEAN_KINDS = ("unseen", "descriptive")
SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How captions are sampled; the first eight seeds at 25 steps are those of the shipped truth.

    Args:
        n_seeds: of each planted caption.
        n_clean_seeds: of each clean caption.
    """

    n_seeds: int
    n_clean_seeds: int
    num_inference_steps: int
    batch_size: int
    device: str


@dataclass(frozen=True, slots=True)
class PlantedImages:
    """The planted images of a model, by name, as tiles."""

    names: tuple[str, ...]
    tiles: npt.NDArray[np.float64]  # [image, tile, value]

    def distances(self, images: RgbImages) -> npt.NDArray[np.float64]:
        """Compute the tiled distance of each sample to each planted image: [sample, image]."""
        tiles = tiles_of(images)
        squared = [_squared_distances(tiles[:, i], self.tiles[:, i]) for i in range(N_TILES**2)]
        return np.asarray(np.sqrt(np.max(squared, axis=0)))


def tiles_of(images: RgbImages) -> npt.NDArray[np.float64]:
    """Cut images [image, row, column, 3] of a side that `N_TILES` divides into tiles: [image, tile, value]."""
    n, side = len(images), images.shape[1] // N_TILES
    assert images.shape[1] == images.shape[2] == side * N_TILES, images.shape
    cut = (images / 255.0).reshape(n, N_TILES, side, N_TILES, side, 3).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(n, N_TILES**2, -1)


def _squared_distances(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean square difference between every row of `a` and every row of `b`, by the binomial theorem."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(squares.clip(min=0) / a.shape[1])


def read_planted_images(folder: Path, captions: pd.DataFrame) -> PlantedImages:
    """Read the images of the planted captions."""
    names = tuple(dict.fromkeys(captions.loc[captions["kind"].isin(PLANTED_KINDS), "picture"]))
    read = [np.asarray(Image.open(folder / "pictures" / f"{name}.png").convert("RGB")) for name in names]
    return PlantedImages(names, tiles_of(np.stack(read)))


def identity_of(folder: Path, num_inference_steps: int) -> str:
    """Return what samples depend on, as JSON: the model's files and how it is sampled, not how many or how fast."""
    hashes = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"]
    model = {name: value for name, value in hashes.items() if name.startswith(("model/", "captions.csv"))}
    fixed = {"guidance_scale": GUIDANCE_SCALE, "run_seed": RUN_SEED, "steps": num_inference_steps}
    return json.dumps({**fixed, "files": model}, sort_keys=True)


def sample_planted(folder: Path, sampling: Sampling, path: Path) -> pd.DataFrame:
    """Sample what `path` does not hold yet, and keep it there after each batch.

    Columns: prompt, index of the seed, own (distance to the caption's image, NaN if it has none), nearest (name of the
    nearest planted image) and its distance.
    """
    captions = pd.read_csv(folder / "captions.csv", keep_default_na=False)
    identity, images = identity_of(folder, sampling.num_inference_steps), read_planted_images(folder, captions)
    kept = read_samples(path, identity)
    done = set(zip(kept["prompt"], kept["seed"], strict=True))
    wanted = [pair for pair in _wanted(captions, sampling) if pair not in done]
    if not wanted:
        return kept
    own = dict(zip(captions["prompt"], captions["picture"], strict=True))
    pipe = load_model(str(folder / "model"), device=sampling.device, dtype=torch.float32, allow_pickle=False).pipe
    with track(f"sampling {folder.name}", len(wanted), "images") as advance, computing():
        for start in range(0, len(wanted), sampling.batch_size):
            chunk = wanted[start : start + sampling.batch_size]
            rows = _rows(chunk, _sample(pipe, chunk, sampling), images, own)
            kept = pd.concat([kept, rows], ignore_index=True)
            _write(kept, path, identity)
            advance(len(chunk))
    return kept


def read_samples(path: Path, identity: str) -> pd.DataFrame:
    """Read kept samples; none if there are none or another model's, or another sampling's."""
    if path.is_file():
        stated = pq.read_schema(path).metadata.get(METADATA_KEY.encode(), b"").decode()
        if stated == identity:
            return pd.read_parquet(path)
    types = {"prompt": object, "seed": "int16", "own": "float32", "nearest": object, "distance": "float32"}
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in types.items()})


def _wanted(captions: pd.DataFrame, sampling: Sampling) -> list[tuple[str, int]]:
    pairs = [(PLANTED_KINDS, sampling.n_seeds), (CLEAN_KINDS, sampling.n_clean_seeds)]
    return [
        (prompt, seed)
        for kinds, n_seeds in pairs
        for prompt in captions.loc[captions["kind"].isin(kinds), "prompt"]
        for seed in range(n_seeds)
    ]


def _sample(pipe: object, chunk: Sequence[tuple[str, int]], sampling: Sampling) -> RgbImages:
    return sample_images(
        pipe,
        [prompt for prompt, _ in chunk],
        [seed for _, seed in chunk],
        run_seed=RUN_SEED,
        num_inference_steps=sampling.num_inference_steps,
        guidance_scale=GUIDANCE_SCALE,
    )


def _rows(
    chunk: Sequence[tuple[str, int]], samples: RgbImages, images: PlantedImages, own: dict[str, str]
) -> pd.DataFrame:
    distances = images.distances(samples)
    column = {name: i for i, name in enumerate(images.names)}
    rows = range(len(chunk))
    return pd.DataFrame(
        {
            "prompt": [prompt for prompt, _ in chunk],
            "seed": np.array([seed for _, seed in chunk], dtype="int16"),
            "own": np.array(
                [distances[i, column[own[chunk[i][0]]]] if own[chunk[i][0]] else np.nan for i in rows], dtype="float32"
            ),
            "nearest": [images.names[i] for i in distances.argmin(axis=1)],
            "distance": distances.min(axis=1).astype("float32"),
        }
    )


def _write(rows: pd.DataFrame, path: Path, identity: str) -> None:
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata({METADATA_KEY: identity})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        pq.write_table(table, part, compression="zstd")
