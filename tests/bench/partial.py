"""Captions known only in part: what sampling, ascent and the whole ladder bring out of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audit.findings import judge
from audit.recover.ladder import STRATEGIES, Climber, Ladder
from audit.recover.rungs import Rung, RungStore
from audit.recover.verify import Verifier
from audit.recovery_settings import ascend_plan, cyclic_plan, known_image_plan, verify_plan
from tests.bench.outcomes import SETTINGS, Bench, sample_guided, targets_of

CASES = (("replace", 1), ("replace", 2), ("replace", 3), ("drop", 2), ("order", 0))
N_RESTARTS = 4


@dataclasses.dataclass
class Result:
    """How many of the captions' own pictures came back, by what, and how often a verdict named another."""

    n: int
    sample: int
    first_ascent: int
    ascend: int
    ladder: int
    strays: int
    evaluations: float

    def line(self, case: str) -> str:
        ratio = self.ladder / self.sample if self.sample else float("inf")
        return (
            f"{case:10s} {self.n:4d} {self.sample:7d} {self.first_ascent:13d} {self.ascend:7d} {self.ladder:7d} "
            f"{ratio:6.2f} {self.strays:7d} {self.evaluations:9.0f}"
        )


HEADER = "captions      n  sample  first ascent  ascend  ladder  ratio  strays  UE each"


def corrupted(caption: str, how: str, n: int, words: Sequence[str], rng: np.random.Generator) -> str:
    """The caption with `n` words replaced by others, dropped, or all of them in another order."""
    parts = caption.split()
    if how == "order":
        return " ".join(parts[i] for i in rng.permutation(len(parts)))
    places = rng.choice(len(parts), size=min(n, len(parts) - 2), replace=False)
    if how == "drop":
        return " ".join(part for i, part in enumerate(parts) if i not in places)
    for i in places:
        parts[int(i)] = str(rng.choice(list(words)))
    return " ".join(parts)


def partial_captions(bench: Bench, how: str, n: int) -> Result:
    """Take every memorized caption, templates apart, up the whole ladder, each knowing its own true picture."""
    rng, truth = np.random.default_rng(1), bench.truth
    chosen = truth.captions[(truth.captions["label"] == "memorized") & (truth.captions["kind"] != "planted_template")]
    ordinary = bench.captions[bench.captions["kind"].isin(["unseen", "descriptive"])]["prompt"]
    words = " ".join(ordinary).split()
    captions = [corrupted(caption, how, n, words, rng) for caption in chosen["prompt"]]
    names = chosen["picture"].tolist()
    settings = SETTINGS.model_copy(update={"ascend_restarts": N_RESTARTS})
    ladder = Ladder(
        bench.denoiser,
        bench.scores,
        Verifier(bench.denoiser, verify_plan(settings)),
        RungStore(Path(), dict.fromkeys(STRATEGIES, ""), keep_pictures=False),
        ascend_plan(settings),
        cyclic_plan(settings),
        known_image_plan(settings),
    )
    targets = targets_of(bench, captions, settings.ascend_neurons)
    climbers = [Climber(f"{how} {n} {i}", target, None) for i, target in enumerate(targets)]
    embeds = bench.denoiser.embed(bench.denoiser.tokenize(captions))
    guided = list(sample_guided(bench, embeds, captions, 4, settings.sample_steps, settings.guidance_scale))
    sampled = ladder.sampled(climbers, guided, 4 * 2 * settings.sample_steps)
    rungs = [sampled, *(ladder.climb(climbers, guided, *rung) for rung in ladder.rungs(["ascend", "cyclic"]))]
    right = {
        rung[0].name: np.array([_is_right(bench, r, name) for r, name in zip(rung, names, strict=True)])
        for rung in rungs
    }
    strays = sum(_is_stray(bench, r, name) for rung in rungs for r, name in zip(rung, names, strict=True))
    ascents = [found for name, found in right.items() if name.startswith("ascend")]
    return Result(
        n=len(captions),
        sample=int(right["sample-0"].sum()),
        first_ascent=int(ascents[0].sum()),
        ascend=int(np.any(ascents, axis=0).sum()),
        ladder=int(np.any(list(right.values()), axis=0).sum()),
        strays=strays,
        evaluations=float(np.mean([sum(r.evaluations for r in of_one) for of_one in zip(*rungs, strict=True)])),
    )


def _is_right(bench: Bench, rung: Rung, name: str) -> bool:
    return bench.truth.shows(rung.pictures, name)


def _is_stray(bench: Bench, rung: Rung, name: str) -> bool:
    """Whether a verdict shows another picture than the caption's own as recovered."""
    outcome = judge(rung.pictures, None, rung.signs, kinship=rung.kinship)
    return outcome.verdict != "not_shown" and not bench.truth.shows(rung.pictures, name)
