"""Plant canaries in a data set: draw them, flip their coins, and write what to train on and the sealed manifest."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from flashbulb.audit.canaries.captions import GROUP_SIZE, draw_captions
from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.canaries.images import COMPARED_SIDE, draw_images, side_of_first
from flashbulb.audit.canaries.instructions import instructions
from flashbulb.audit.canaries.manifest import IMAGES_FOLDER, MANIFEST_FILE, data_set_of, write_manifest
from flashbulb.audit.canaries.outputs import FORMATS, Pair
from flashbulb.audit.canaries.pairs import read_pairs
from flashbulb.audit.canaries.plan import Canary, Tier, flip_coins, image_name, name_canaries, plan_tiers
from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.reports.bounds.epsilon import EpsilonBound, epsilon_bound
from flashbulb.reports.bounds.membership import n_guesses_of
from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.tables.files import write_text

logger = logging.getLogger(__name__)

DELTA, CONFIDENCE = 1e-5, 0.95
"""With which the bound on ε is stated; both are in the manifest, so they are chosen before training."""

TRAIN_FOLDER, README_FILE = "train", "README.md"


@dataclass(frozen=True, slots=True)
class Planting:
    """What to plant.

    Args:
        pool: images to draw those of canaries from; painted without.
        side: pixels a side of the canaries; None for the size of the data set's first image.
        with_data: write the data set's own pairs as well.
        text_column: of the captions, if they are a table.
    """

    images: Path
    n_canaries: int
    repeats: tuple[int, ...]
    has_shared: bool
    pool: Path | None
    side: int | None
    format: str
    with_data: bool
    text_column: str | None
    seed: int


class Planted(NamedTuple):
    """What was planted: the tiers, the bound that each and all can show, and the number of rows to train on."""

    tiers: tuple[Tier, ...]
    bounds: tuple[EpsilonBound, ...]
    overall: EpsilonBound
    n_rows: int
    text_auc: float
    seed: int


def plant(planting: Planting, captions: PromptSet, out: Path) -> Planted:
    """Write canaries/, train/, manifest.json and README.md into the folder `out`, completely or not at all.

    Raises:
        CanaryError, TrainingImagesError: the data set cannot hold canaries, or `out` is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CanaryError(f"{out} is not empty; give another --out")
    n_own = _count_own(planting) if planting.with_data else 0  # bad captions are told before images are drawn
    tiers = plan_tiers(planting.n_canaries, planting.repeats, has_shared=planting.has_shared)
    drawn = draw_captions(
        captions.prompts,
        2 * sum(tier.n for tier in tiers if not tier.is_shared),
        2 * sum(tier.n // GROUP_SIZE for tier in tiers if tier.is_shared),
        planting.seed,
    )
    images = _draw_images(planting, 2 * sum(tier.n for tier in tiers))
    encoded = [_png(image) for image in images]
    canaries = name_canaries(tiers, drawn, [hashlib.sha256(data).hexdigest() for data in encoded])
    coins = flip_coins(canaries, planting.seed)
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        (part / TRAIN_FOLDER).mkdir(parents=True)
        (part / IMAGES_FOLDER).mkdir()
        for number, data in enumerate(encoded):
            (part / IMAGES_FOLDER / image_name(number)).write_bytes(data)
        n_rows = _write_training_set(planting, part / TRAIN_FOLDER, canaries, encoded, coins, n_own)
        data_set = data_set_of(captions, planting.images, drawn.auc, drawn.limit, planting.seed)
        stated = {"seed": planting.seed, "delta": DELTA, "confidence": CONFIDENCE, "format": planting.format}
        write_manifest(part / MANIFEST_FILE, data_set, canaries, coins, stated)
        bounds = tuple(_if_all_right(tier.n, n_guesses_of(tier.n)) for tier in tiers)
        overall = _if_all_right(sum(tier.n for tier in tiers), sum(bound.n_guesses for bound in bounds))
        planted = Planted(tiers, bounds, overall, n_rows, drawn.auc, planting.seed)
        _write_readme(part, planted, planting)
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return planted


def _draw_images(planting: Planting, n: int) -> list[RgbImage]:
    training = open_training_images(planting.images, COMPARED_SIDE, COMPARED_SIDE)
    side = planting.side or side_of_first(planting.images)
    return draw_images(n, side, training, planting.pool, np.random.default_rng([planting.seed, 2]))


def _png(image: RgbImage) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, format="PNG")
    return encoded.getvalue()


def _write_training_set(
    planting: Planting,
    folder: Path,
    canaries: Sequence[Canary],
    encoded: Sequence[bytes],
    coins: Mapping[str, bool],
    n_own: int,
) -> int:
    """Write the pairs to train on, canaries at random places among the data set's own; return their number."""
    rng = np.random.default_rng([planting.seed, 5])
    added = [
        Pair(data, ".png", canary.caption)
        for canary, data in zip(canaries, encoded, strict=True)
        if coins.get(canary.canary_id)
        for _ in range(canary.repeats)
    ]
    added = [added[int(i)] for i in rng.permutation(len(added))]
    own = filter(_has_caption, read_pairs(planting.images, planting.text_column)) if planting.with_data else iter(())
    places = set(rng.permutation(n_own + len(added))[: len(added)].tolist())
    FORMATS[planting.format](folder, _mixed(own, iter(added), places, n_own + len(added)))
    return n_own + len(added)


def _count_own(planting: Planting) -> int:
    """Count the data set's own pairs, and say how many images have no caption to train with."""
    have_captions = [_has_caption(pair) for pair in read_pairs(planting.images, planting.text_column)]
    if n_without := have_captions.count(False):
        logger.warning(
            "%s of %s without a caption left out of %s/; give them one, or add them there",
            count_text(n_without, "image"),
            planting.images,
            TRAIN_FOLDER,
        )
    return have_captions.count(True)


def _has_caption(pair: Pair) -> bool:
    return bool(pair.caption)


def _mixed(own: Iterator[Pair], added: Iterator[Pair], places: set[int], n: int) -> Iterator[Pair]:
    return chain.from_iterable([next(added if place in places else own)] for place in range(n))


def _if_all_right(n_canaries: int, n_guesses: int) -> EpsilonBound:
    return epsilon_bound(n_canaries, n_guesses, n_guesses, DELTA, CONFIDENCE)


def _write_readme(folder: Path, planted: Planted, planting: Planting) -> None:
    text = instructions(
        planted.tiers,
        planted.bounds,
        planted.overall,
        n_rows=planted.n_rows,
        with_data=planting.with_data,
        date=datetime.now(UTC).date().isoformat(),
        delta=DELTA,
        confidence=CONFIDENCE,
    )
    write_text(folder / README_FILE, text)
