"""What every attempt of the ladder brings out of captions, and what plain samples of as many UE do: each on its own.

No attempt is left out because an earlier one succeeded, so that an ablation needs no other run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from flashbulb.audit.images.distances import RgbImages, tile_distances
from flashbulb.audit.recover.attempts import Attempt
from flashbulb.audit.recover.groups import alike_samples
from flashbulb.audit.recover.ladder import LadderPrompt, Strategy
from flashbulb.audit.recover.outcome import Source, judge
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE
from tests.bench.outcomes import SETTINGS, Bench, sample_guided, targets_of

LEAST = 2
"""Images of an attempt, or of all plain samples, that show a caption's image if it comes out."""


@dataclass(frozen=True)
class Tried:
    """One attempt on one caption.

    Args:
        shows: whether each image of the attempt shows the caption's own image.
        named: the planted image that at least half of what was verified shows; None if there is none.
        verdict: without training images.
    """

    name: str
    evaluations: int
    shows: tuple[bool, ...]
    named: str | None
    verdict: str

    @property
    def is_out(self) -> bool:
        """Whether the caption's image comes out."""
        return sum(self.shows) >= LEAST


def seeds_of(bench: Bench, captions: Sequence[str], n: int, seed: int) -> list[RgbImages]:
    """Sample captions as an audit does, with `n` seeds: for each [seed, height, width, 3]."""
    keys = [f"{seed}\n{text}" for text in captions]
    encoded = bench.denoiser.encode(captions).conditioning
    return list(sample_guided(bench, encoded, keys, n, SETTINGS.sample_steps, SETTINGS.guidance_scale))


def try_all(
    bench: Bench,
    strategies: Sequence[Strategy],
    captions: Sequence[str],
    names: Sequence[str],
    sampled: Sequence[RgbImages],
    seed: int,
) -> list[list[Tried]]:
    """Make every attempt on every caption: [caption, attempt].

    Args:
        names: the image of each caption; empty for clean ones.
        sampled: at least the plain samples that the ladder begins with.
    """
    targets = targets_of(bench, captions, SETTINGS.ascend_neurons, seed)
    rows = zip(captions, targets, sampled, strict=True)
    prompts = [LadderPrompt(text, target, s[: SETTINGS.n_samples], lambda: None) for text, target, s in rows]
    by_attempt: list[list[Tried]] = []
    for strategy in strategies:
        for restart in range(strategy.n_restarts):
            with _all_samples() as samples:
                attempts = strategy.try_(prompts, restart)
            images = samples or [attempt.images for attempt in attempts]
            made = zip(attempts, images, names, strict=True)
            by_attempt.append([_judged(bench, strategy, *made_attempt) for made_attempt in made])
    return [list(row) for row in zip(*by_attempt, strict=True)]


@contextmanager
def _all_samples() -> Iterator[list[RgbImages]]:
    """Yield a list that gets all samples of each prompt, where a strategy gives a group of them only."""
    samples: list[RgbImages] = []

    def keep(images: RgbImages) -> list[int]:
        samples.append(images)
        return alike_samples(images)

    with patch("flashbulb.audit.recover.groups.alike_samples", keep):
        yield samples


def _judged(bench: Bench, strategy: Strategy, attempt: Attempt, images: RgbImages, name: str) -> Tried:
    source: Source = "plain" if strategy.is_plain else "driven"
    outcome = judge(attempt.images, None, attempt.signs, kinship=attempt.kinship, source=source)
    shows, named = shows_of(bench, images, name), bench.truth.shown(attempt.images)
    return Tried(attempt.name, attempt.evaluations, shows, named, outcome.verdict)


def shows_of(bench: Bench, images: RgbImages, name: str) -> tuple[bool, ...]:
    """Return whether each image shows the planted image of this name; no image does for a clean caption."""
    if not name:
        return (False,) * len(images)
    distances = tile_distances(images, bench.truth.images[bench.truth.names.index(name)])
    return tuple((distances <= REPLICATION_DISTANCE).tolist())


def within(attempts: Sequence[Tried], budget: int) -> Iterator[Tried]:
    """Yield a caption's attempts, in their order, as long as the budget pays for them."""
    spent = 0
    for attempt in attempts:
        spent += attempt.evaluations
        if spent > budget:
            return
        yield attempt
