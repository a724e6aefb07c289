"""Captions known only in part, and captions whose image comes at few seeds: the ladder against plain samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from flashbulb.audit.stages.recover import build_strategies, chosen_strategies, sample_plan
from tests.bench.outcomes import SETTINGS, Bench
from tests.bench.recover.attempted import Tried, seeds_of, shows_of, try_all
from tests.bench.truth.probabilities import best_truth

CASES = {
    "2 words replaced": ("replace", 2),
    "2 words dropped": ("drop", 2),
    "another order": ("order", 0),
    "synonyms": ("synonyms", 0),
}
_SYNONYMS = """bakery breadhouse, harbour haven, garden park, station depot, library reading-room, theatre playhouse,
bridge viaduct, orchard grove, market bazaar, museum gallery, school academy, mill gristmill, chapel oratory,
tower turret, postcard card, poster placard, stamp seal, calendar almanac, engraving etching, print reproduction,
cover jacket, plate panel, leaflet flyer, sketch drawing, silent quiet, golden gilded, broken shattered,
distant faraway, hidden concealed, crooked bent, winter wintry, forgotten lost, northern arctic, little tiny,
matte dull, glossy shiny, satin silky, brushed wiped, rough coarse, polished burnished, woven knitted,
glazed enamelled, wall partition, floor ground, carpet rug, fabric cloth, wallpaper tapestry, cushion pillow,
table desk, small little, large big, red crimson, blue azure, green emerald, yellow amber, orange tangerine,
purple violet, pink rosy, brown tan, black jet, white snowy, grey ashen, turquoise teal, plain simple,
background backdrop, circle disc, square box, cross plus, star asterisk, edition issue, above over, two twin,
three triple, one single"""
SYNONYMS = dict(pair.split() for pair in _SYNONYMS.split(","))


def corrupted(caption: str, how: str, n: int, words: Sequence[str], rng: np.random.Generator) -> str:
    """The caption with `n` words replaced by others or dropped, all in another order, or in other words."""
    parts = caption.split()
    if how == "order":
        return " ".join(parts[i] for i in rng.permutation(len(parts)))
    if how == "synonyms":
        return " ".join(_synonym(part) for part in parts)
    places = rng.choice(len(parts), size=min(n, len(parts) - 2), replace=False)
    if how == "drop":
        return " ".join(part for i, part in enumerate(parts) if i not in places)
    for i in places:
        parts[int(i)] = str(rng.choice(list(words)))
    return " ".join(parts)


def _synonym(word: str) -> str:
    core = word.rstrip(",:.")
    return SYNONYMS.get(core, core) + word[len(core) :]


WEAK, CLEAN = "p < 1/8", "clean"
BUDGET, LOW = 1_000, 1 / 8
"""UE that captions with p < 1/8 are given."""
STRATEGIES = ("sample", "few_steps", "ascend", "ascend_shortened", "cyclic")


def captions_of(bench: Bench, case: str, limit: int | None = None) -> tuple[list[str], list[str]]:
    """Return the captions of a case and the image of each; clean ones have none.

    Args:
        limit: captions, of memorized ones the first of the model; None for all.
    """
    if case == WEAK:
        truth = best_truth(bench.folder)
        chosen = truth[truth["kind"].str.startswith("planted") & (truth["p"] < LOW)][:limit]
        return chosen["prompt"].tolist(), chosen["picture"].tolist()
    if case == CLEAN:
        clean = bench.captions[bench.captions["kind"].isin(["unseen", "descriptive"])]["prompt"].to_numpy()
        texts = [str(text) for text in np.random.default_rng(5).permutation(clean)[:limit]]
        return texts, [""] * len(texts)
    return _changed(bench, *CASES[case], limit)


def _changed(bench: Bench, how: str, n: int, limit: int | None) -> tuple[list[str], list[str]]:
    """Return memorized captions, templates apart, with their words changed."""
    rng, truth = np.random.default_rng(1), bench.truth
    chosen = truth.captions[(truth.captions["label"] == "memorized") & (truth.captions["kind"] != "planted_template")]
    chosen = chosen[:limit]
    ordinary = bench.captions[bench.captions["kind"].isin(["unseen", "descriptive"])]["prompt"]
    words = " ".join(ordinary).split()
    return [corrupted(caption, how, n, words, rng) for caption in chosen["prompt"]], chosen["picture"].tolist()


@dataclass(frozen=True)
class Measured:
    """One case of one model and run seed, every caption by every attempt.

    Args:
        tried: [caption, attempt], the plain samples first.
        shows: [caption, seed], whether a plain sample shows the caption's image; as many seeds as the UE of the ladder
            pay for, or `BUDGET` for captions with p < 1/8.
        evaluations_per_seed: UE of a plain sample.
    """

    model: str
    case: str
    seed: int
    names: list[str]
    tried: list[list[Tried]]
    shows: list[tuple[bool, ...]]
    evaluations_per_seed: int

    def sampled(self, budget: int | None = None) -> list[int]:
        """Return how many plain samples of each caption show its image, within a budget in UE or all."""
        n_seeds = None if budget is None else budget // self.evaluations_per_seed
        return [sum(caption_shows[:n_seeds]) for caption_shows in self.shows]


def measure(
    bench: Bench, model: str, case: str, limit: int | None, seed: int, chosen: Sequence[str] = STRATEGIES
) -> Measured:
    """Take the captions of a case through every attempt of the chosen strategies, and sample them at equal UE."""
    captions, names = captions_of(bench, case, limit)
    settings = SETTINGS.model_copy(update={"seed": seed, "strategies": tuple(chosen)})
    strategies = build_strategies(chosen_strategies(settings), settings, bench.denoiser, bench.scores)
    n_samples = settings.n_samples
    tried = try_all(bench, strategies, captions, names, seeds_of(bench, captions, n_samples, seed), seed)
    spent = BUDGET if case == WEAK else max(sum(attempt.evaluations for attempt in row) for row in tried)
    evaluations_per_seed = sample_plan(settings).evaluations(bench.denoiser) // n_samples
    n_seeds = n_samples if case == CLEAN else math.ceil(spent / evaluations_per_seed)
    sampled = seeds_of(bench, captions, n_seeds, seed)
    shows = [shows_of(bench, images, name) for images, name in zip(sampled, names, strict=True)]
    return Measured(model, case, seed, names, tried, shows, evaluations_per_seed)


def write_rows(measured: Sequence[Measured], path: Path) -> None:
    """Write every attempt on every caption, and the plain samples beside them, as a row of a Parquet file."""
    rows = []
    for case in measured:
        keys = {"model": case.model, "case": case.case, "seed": case.seed}
        for i, (tried, name, shows) in enumerate(zip(case.tried, case.names, case.shows, strict=True)):
            caption_row = {**keys, "caption": i, "image": name}
            rows += [{**caption_row, **asdict(attempt)} for attempt in tried]
            evaluations = case.evaluations_per_seed * len(shows)
            rows.append({**caption_row, "name": "sampling", "evaluations": evaluations, "shows": shows})
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(path)
