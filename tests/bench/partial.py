"""Captions known only in part: what the ladder brings out of them, and what as many UE of plain samples do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from flashbulb.audit.recover.attempts import Attempt
from flashbulb.audit.recover.ladder import LadderPrompt, Strategy, Target
from flashbulb.audit.recover.outcome import judge
from flashbulb.audit.recover.strategies.ascend import Ascend
from flashbulb.audit.stages.recover import build_strategies, chosen_strategies, sample_plan
from tests.bench.outcomes import SETTINGS, Bench, sample_guided, targets_of

CASES = (("replace", 2), ("drop", 2), ("order", 0), ("synonyms", 0))
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


@dataclasses.dataclass
class Result:
    """How many of the captions' own images came out, by what, and how often a verdict named another.

    Args:
        first: by the samples that both arms begin with.
        first_ascent: by these and the first ascent.
        sampled: by plain samples alone, `n_sets` times as many.
        evaluations: UE of the whole ladder, the most of any caption.
    """

    n: int
    first: int
    first_ascent: int
    ascend: int
    ladder: int
    sampled: int
    n_sets: int
    strays: int
    evaluations: int

    def line(self, case: str) -> str:
        ratio = self.ladder / self.sampled if self.sampled else float("inf")
        sampled = f"{self.sampled} ({self.n_sets} sets)"
        return (
            f"{case:11s} {self.n:4d} {self.first:7d} {sampled:>12s} {self.first_ascent:13d} {self.ascend:12d} "
            f"{self.ladder:7d} {ratio:6.2f} {self.strays:7d} {self.evaluations:7d}"
        )


HEADER = "captions       n  4 seeds      sampling  first ascent  all ascents  ladder  ratio  strays UE at most"


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


class Arms:
    """Captions whose own image is known to the benchmark: each is tried until its image comes out.

    Args:
        names: the image of each caption.
    """

    def __init__(self, bench: Bench, captions: Sequence[str], names: Sequence[str]) -> None:
        self.bench, self.captions, self.names = bench, captions, names
        self.first = self._sample(range(len(captions)), 0)
        self.came_out = self._right(self.first, range(len(captions)))

    def _sample(self, rows: Sequence[int], number: int) -> list[np.ndarray]:
        captions = [self.captions[i] for i in rows]
        encoded, keys = self.bench.denoiser.encode(captions).conditioning, [f"{number}\n{text}" for text in captions]
        steps, guidance = SETTINGS.sample_steps, SETTINGS.guidance_scale
        return list(sample_guided(self.bench, encoded, keys, SETTINGS.n_samples, steps, guidance)) if captions else []

    def _right(self, images: Sequence[np.ndarray], rows: Sequence[int]) -> set[int]:
        """Captions of which at least half of the images show their own."""
        return {i for i, shown in zip(rows, images, strict=True) if self.bench.truth.shows(shown, self.names[i])}

    def sampled(self, n_sets: int) -> set[int]:
        """Captions whose image comes out of so many sets of samples, the first included."""
        right = set(self.came_out)
        for number in range(1, n_sets):
            rows = [i for i in range(len(self.captions)) if i not in right]
            right |= self._right(self._sample(rows, number), rows)
        return right

    def climbed(self, strategies: Sequence[Strategy], targets: Sequence[Target]) -> tuple[list[set[int]], int, int]:
        """Captions whose image is out after each attempt of the ladder; its strays, and the most UE of a caption."""
        right, after, strays = set(self.came_out), [set(self.came_out)], 0
        spent = np.zeros(len(self.captions), dtype=int)
        for strategy in strategies:
            for restart in range(strategy.n_restarts):
                rows = [i for i in range(len(self.captions)) if i not in right or strategy.is_plain]
                prompts = [LadderPrompt(f"{i}", targets[i], self.first[i], lambda: None) for i in rows]
                attempts = strategy.try_(prompts, restart) if rows else []
                strays += sum(self._is_stray(attempt, i) for attempt, i in zip(attempts, rows, strict=True))
                spent[rows] += [attempt.evaluations for attempt in attempts]
                right |= self._right([attempt.images for attempt in attempts], rows)
                after.append(set(right))
        return after, strays, int(spent.max())

    def _is_stray(self, attempt: Attempt, row: int) -> bool:
        """Whether a verdict shows another image than the caption's own as recovered."""
        outcome = judge(
            attempt.images, None, attempt.signs, kinship=attempt.kinship, is_pushed=attempt.kinship is not None
        )
        return outcome.verdict != "not_shown" and not self.bench.truth.shows(attempt.images, self.names[row])


def partial_captions(bench: Bench, how: str, n: int, limit: int | None = None) -> Result:
    """Take memorized captions, templates apart, up the whole ladder, and sample them at equal UE.

    Args:
        limit: captions, the first of the model; None for all.
    """
    rng, truth = np.random.default_rng(1), bench.truth
    chosen = truth.captions[(truth.captions["label"] == "memorized") & (truth.captions["kind"] != "planted_template")]
    chosen = chosen[:limit]
    ordinary = bench.captions[bench.captions["kind"].isin(["unseen", "descriptive"])]["prompt"]
    words = " ".join(ordinary).split()
    captions = [corrupted(caption, how, n, words, rng) for caption in chosen["prompt"]]
    arms = Arms(bench, captions, chosen["picture"].tolist())
    strategies = build_strategies(chosen_strategies(SETTINGS), SETTINGS, bench.denoiser, bench.scores)
    targets = targets_of(bench, captions, SETTINGS.ascend_neurons)
    after, strays, evaluations = arms.climbed(strategies, targets)
    n_sets = math.ceil(evaluations / sample_plan(SETTINGS).evaluations(bench.denoiser))
    climbed = [s.name for s in strategies for _ in range(s.n_restarts)].index(Ascend.name)
    return Result(
        n=len(captions),
        first=len(arms.came_out),
        first_ascent=len(after[climbed + 1]),
        ascend=len(after[climbed + SETTINGS.ascend_restarts]),
        ladder=len(after[-1]),
        sampled=len(arms.sampled(n_sets)),
        n_sets=n_sets,
        strays=strays,
        evaluations=evaluations,
    )
