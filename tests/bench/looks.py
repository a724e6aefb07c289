"""`python -m tests.bench.looks`: what single samples of a search show, and what closing looks make of them.

Every look is taken at the first sample of every start, and judged by the truth; docs/discovery-tried.md has the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from flashbulb.audit.discover.candidates import Place
from flashbulb.audit.discover.closing import Closed, ClosingLooks
from flashbulb.audit.discover.search import Search
from flashbulb.audit.images.distances import RgbImages, cross_distances
from flashbulb.audit.images.reduced import reduce_images
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.pull.familiarity import familiarity
from flashbulb.audit.recover.verify import Looked, Verifier
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import DiscoverSettings
from flashbulb.audit.stages.discover import search_plan, search_verify_plan
from flashbulb.audit.stages.results.closing import LIKELY_AT, closing_looks
from flashbulb.reports.tables.limits import CONFIRMED_AT, REPLICATION_DISTANCE
from tests.bench.models import ALL, folder_of
from tests.bench.outcomes import SEARCH, Bench, Truth, open_bench

KINDS: Mapping[str, Mapping[str, float]] = {
    "8 steps at 0.25": {"n_steps": 8, "learning_rate": 0.25},
    "15 steps at 0.15": {"n_steps": 15, "learning_rate": 0.15},
    "40 steps at 0.1": {"n_steps": 40, "learning_rate": 0.1},
}
"""Looks of one pull; the one in use is also followed by a second one."""


class _Watching(Verifier):
    """Keeps the samples of every start."""

    seen: list[RgbImages]

    def look(
        self, conditioning: Conditioning, keys: Sequence[str], is_known: Callable[[RgbImages], bool] | None = None
    ) -> list[Looked]:
        looked = super().look(conditioning, keys, is_known)
        self.seen += [look.images for look in looked]
        return looked


def samples_of_starts(bench: Bench, n: int, seed: int) -> RgbImages:
    """Search as `flashbulb discover` does, and return the samples of `n` starts: [start, sample, height, width, 3]."""
    settings = SEARCH.model_copy(update={"seed": seed, "patience": n, "n_starts": min(n, SEARCH.n_starts)})
    watching = _Watching(bench.denoiser, search_verify_plan(settings))
    watching.seen = []
    search = Search(bench.denoiser, bench.columns, watching, None, (), search_plan(settings))
    state = search.begin()
    for _ in search.rounds(state, None):
        if state.n_starts >= n:
            break
    return np.stack(watching.seen[:n])


class Nearest(NamedTuple):
    """The nearest planted image of each image, by index, and whether the image replicates it."""

    index: npt.NDArray[np.int64]
    is_replica: npt.NDArray[np.bool_]


def nearest_planted(truth: Truth, images: RgbImages) -> Nearest:
    """Compare images [image, height, width, 3] with all planted ones."""
    distances = cross_distances(images, truth.images)
    return Nearest(distances.argmin(axis=1), distances.min(axis=1) <= REPLICATION_DISTANCE)


def print_samples(truth: Truth, samples: RgbImages) -> None:
    """Print how many distinct memorized images samples of the first starts show."""
    memorized = {truth.names.index(name) for name in truth.memorized}
    for n in (len(samples) // 2, len(samples)):
        for n_samples in (1, samples.shape[1]):
            nearest = nearest_planted(truth, samples[:n, :n_samples].reshape(-1, *samples.shape[2:]))
            shown = {*nearest.index[nearest.is_replica].tolist()} & memorized
            print(f"{n} starts, {n_samples} samples: {len(shown)} of {len(memorized)} memorized images")


def area(score: npt.NDArray[np.float64], is_right: npt.NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve of a score that is high where something is right."""
    higher = score[is_right][:, None] > score[~is_right]
    equal = score[is_right][:, None] == score[~is_right]
    return float((higher + equal / 2).mean())


def print_ranks(bench: Bench, samples: RgbImages, looks: ClosingLooks) -> None:
    """Print how well signs that cost little tell which first samples replicate a planted image."""
    first, right = samples[:, 0], nearest_planted(bench.truth, samples[:, 0]).is_replica
    glimpses: dict[Place, RgbImages] = {(0, i): reduce_images(start) for i, start in enumerate(samples)}
    distances = cross_distances(reduce_images(first), np.concatenate(list(glimpses.values())))
    is_own = np.arange(len(first))[:, None] == np.arange(len(first)).repeat(samples.shape[1])
    own = np.sort(np.where(is_own, distances, 1.0), axis=1)[:, 1]
    other = np.where(is_own, 1.0, distances).min(axis=1)
    signs = {"own start": -own, "another start": -other, "product": -own * other}
    signs["familiarity"] = familiarity(bench.denoiser, first, looks.plan.rank)
    print(", ".join(f"{name} {area(score, right):.2f}" for name, score in signs.items()))


def print_looks(bench: Bench, name: str, looked: Sequence[Closed]) -> None:
    """Print images with a verdict, and how many looks of each verdict are right."""
    shown = [bench.truth.shown(closed.images) for closed in looked]
    confidence = np.array([closed.confidence for closed in looked])
    line = [f"{name} ({sum(closed.evaluations for closed in looked) / len(looked):.0f} UE)"]
    for verdict, low, high in (("confirmed", CONFIRMED_AT, 2.0), ("likely", LIKELY_AT, CONFIRMED_AT)):
        inside = [shown[i] for i in np.flatnonzero((confidence >= low) & (confidence < high))]
        images = len({*inside} & bench.truth.memorized)
        line.append(f"{verdict} right {sum(s is not None for s in inside)} of {len(inside)}, {images} images")
    with_verdict = {shown[i] for i in np.flatnonzero(confidence >= LIKELY_AT)} & bench.truth.memorized
    print("; ".join([*line, f"with a verdict {len(with_verdict)} images"]), flush=True)


def main() -> None:
    """Search each model, and look at the first sample of every start in several ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", choices=tuple(ALL), default=["gazette"])
    parser.add_argument("--starts", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0, help="run seed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for model in arguments.models:
        with computing():
            bench = open_bench(folder_of(model))
            samples = samples_of_starts(bench, arguments.starts, arguments.seed)
            print(f"\n{model}")
            print_samples(bench.truth, samples)
            settings = DiscoverSettings(model="", train_images=None, out=Path(), seed=arguments.seed)
            usual = closing_looks(settings, bench.denoiser)
            print_ranks(bench, samples, usual)
            keys = [f"start {i}" for i in range(len(samples))]
            for name, changes in KINDS.items():
                usual.plan = replace(usual.plan, n_pulls=1, pull=replace(usual.plan.pull, **changes))
                print_looks(bench, name, usual.look(samples[:, 0], keys))
            print_looks(bench, "in use", closing_looks(settings, bench.denoiser).look(samples[:, 0], keys))


if __name__ == "__main__":
    main()
