"""Captions known only in part: what sampling, ascent and the whole ladder bring out of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from flashbulb.audit.recover.attempts import Attempt
from flashbulb.audit.recover.ladder import LadderPrompt
from flashbulb.audit.recover.outcome import judge
from flashbulb.audit.stages.recover import build_strategies, chosen_strategies
from tests.bench.outcomes import SETTINGS, Bench, sample_guided, targets_of

CASES = (("replace", 1), ("replace", 2), ("replace", 3), ("drop", 2), ("order", 0))
N_RESTARTS = 4


@dataclasses.dataclass
class Result:
    """How many of the captions' own images came back, by what, and how often a verdict named another."""

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
    """Take every memorized caption, templates apart, up the whole ladder, each knowing its own true image."""
    rng, truth = np.random.default_rng(1), bench.truth
    chosen = truth.captions[(truth.captions["label"] == "memorized") & (truth.captions["kind"] != "planted_template")]
    ordinary = bench.captions[bench.captions["kind"].isin(["unseen", "descriptive"])]["prompt"]
    words = " ".join(ordinary).split()
    captions = [corrupted(caption, how, n, words, rng) for caption in chosen["prompt"]]
    names = chosen["picture"].tolist()
    settings = SETTINGS.model_copy(update={"ascend_restarts": N_RESTARTS})
    targets = targets_of(bench, captions, settings.ascend_neurons)
    encoded = bench.denoiser.encode(captions).conditioning
    guided = list(sample_guided(bench, encoded, captions, 4, settings.sample_steps, settings.guidance_scale))
    prompts = [
        LadderPrompt(f"{how} {n} {i}", target, samples, lambda: None)
        for i, (target, samples) in enumerate(zip(targets, guided, strict=True))
    ]
    strategies = build_strategies(chosen_strategies(settings), settings, bench.denoiser, bench.scores)
    attempts = [s.try_(prompts, restart) for s in strategies for restart in range(s.n_restarts)]
    right = {
        attempt[0].name: np.array([_is_right(bench, r, name) for r, name in zip(attempt, names, strict=True)])
        for attempt in attempts
    }
    strays = sum(_is_stray(bench, r, name) for attempt in attempts for r, name in zip(attempt, names, strict=True))
    ascents = [found for name, found in right.items() if name.startswith("ascend")]
    return Result(
        n=len(captions),
        sample=int(right["sample-0"].sum()),
        first_ascent=int(ascents[0].sum()),
        ascend=int(np.any(ascents, axis=0).sum()),
        ladder=int(np.any(list(right.values()), axis=0).sum()),
        strays=strays,
        evaluations=float(np.mean([sum(r.evaluations for r in of_one) for of_one in zip(*attempts, strict=True)])),
    )


def _is_right(bench: Bench, attempt: Attempt, name: str) -> bool:
    return bench.truth.shows(attempt.images, name)


def _is_stray(bench: Bench, attempt: Attempt, name: str) -> bool:
    """Whether a verdict shows another image than the caption's own as recovered."""
    outcome = judge(attempt.images, None, attempt.signs, kinship=attempt.kinship)
    return outcome.verdict != "not_shown" and not bench.truth.shows(attempt.images, name)
