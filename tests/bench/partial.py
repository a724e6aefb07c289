"""Captions known only in part, and captions whose image comes at few seeds: the ladder against plain samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flashbulb.audit.stages.recover import build_strategies, chosen_strategies, sample_plan
from tests.bench.attempted import Tried, hits_of, seeds_of, try_all
from tests.bench.outcomes import SETTINGS, Bench
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
        hits: [caption], of `n_seeds` plain samples, as many as the UE of the ladder pay for.
    """

    model: str
    case: str
    seed: int
    names: list[str]
    tried: list[list[Tried]]
    n_seeds: int
    hits: list[int]


def measure(bench: Bench, model: str, case: str, limit: int | None, seed: int) -> Measured:
    """Take the captions of a case through every attempt, and sample them at equal UE."""
    captions, names = captions_of(bench, case, limit)
    settings = SETTINGS.model_copy(update={"seed": seed, "strategies": STRATEGIES})
    strategies = build_strategies(chosen_strategies(settings), settings, bench.denoiser, bench.scores)
    n_samples = settings.n_samples
    budget = BUDGET if case == WEAK else None
    tried = try_all(bench, strategies, captions, names, seeds_of(bench, captions, n_samples, seed), seed, budget)
    spent = budget or max(sum(one.evaluations for one in row) for row in tried)
    of_seed = sample_plan(settings).evaluations(bench.denoiser) // n_samples
    n_seeds = n_samples if case == CLEAN else math.ceil(spent / of_seed)
    sampled = seeds_of(bench, captions, n_seeds, seed)
    hits = [hits_of(bench, images, name) for images, name in zip(sampled, names, strict=True)]
    return Measured(model, case, seed, names, tried, n_seeds, hits)
