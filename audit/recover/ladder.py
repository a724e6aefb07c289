"""The ladder of recovery: cheap strategies first, up to the first that brings a memory back; every rung is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from audit.denoiser import Denoiser
from audit.evidence import Pictures
from audit.recover.ascend import N_KINSHIP, AscendPlan, Target, ascend, kinship
from audit.recover.climb import ClimbPlan
from audit.recover.cyclic import CyclicPlan, cycle
from audit.recover.known_image import KnownImagePlan, pull_out
from audit.recover.neurons import NeuronScores
from audit.recover.rungs import Rung, RungStore
from audit.recover.verify import Looked, Verifier

STRATEGIES = ("sample", "ascend", "cyclic", "known_image")
"""From the cheapest to the dearest."""


@dataclass(frozen=True, slots=True)
class Climber:
    """One prompt on the ladder.

    Args:
        key: names its files and seeds its noise.
        target: the neurons to ascend on.
        known: the training picture to pull at, [1, height, width, 3]; None if that is not tried.
    """

    key: str
    target: Target
    known: Pictures | None

    def key_of(self, strategy: str) -> str:
        """Names its rungs of a strategy; those that pull at a picture belong to that picture."""
        if strategy != "known_image" or self.known is None:
            return self.key
        return f"{self.key}/{hashlib.sha256(self.known.tobytes()).hexdigest()[:16]}"


class Ladder:
    """The strategies of one run; `rungs` names those to try, in order, as (strategy, restart)."""

    def __init__(
        self,
        denoiser: Denoiser,
        scores: NeuronScores | None,
        verifier: Verifier,
        store: RungStore,
        ascent: AscendPlan,
        cycles: CyclicPlan,
        known: KnownImagePlan,
    ) -> None:
        self._denoiser, self._scores, self._verifier, self._store = denoiser, scores, verifier, store
        self._ascent, self._cycles, self._known = ascent, cycles, known

    def rungs(self, strategies: Sequence[str]) -> Iterator[tuple[str, int]]:
        """What comes after sampling, in order."""
        for strategy in STRATEGIES[1:]:
            if strategy in strategies:
                yield from ((strategy, i) for i in range(self._ascent.n_restarts if strategy == "ascend" else 1))

    def settings_of(self, strategy: str, restart: int) -> dict[str, object]:
        """How pictures of a later rung were made, to be stated beside them."""
        plans: Mapping[str, ClimbPlan | CyclicPlan | KnownImagePlan] = {
            "ascend": self._ascent.climb_of(restart),
            "cyclic": self._cycles,
            "known_image": self._known,
        }
        sampled = {f"sampling_{name}": value for name, value in asdict(self._verifier.plan).items()}
        return {"run_seed": self._ascent.run_seed, **asdict(plans[strategy]), **sampled}

    def sampled(self, climbers: Sequence[Climber], guided: Sequence[Pictures], cost: int) -> list[Rung]:
        """The first rung, of pictures that were sampled at a `cost` of so many UE a prompt."""

        def look(chosen: Sequence[int]) -> list[Rung]:
            embeds = self._embed([climbers[i] for i in chosen])
            keys = [climbers[i].key for i in chosen]
            looked = self._verifier.look_at_guided(embeds, keys, [guided[i] for i in chosen])
            return [_rung("sample", 0, one, cost, e) for one, e in zip(looked, embeds, strict=True)]

        return self._kept(climbers, "sample", 0, look)

    def climb(
        self, climbers: Sequence[Climber], sampled: Sequence[Pictures], strategy: str, restart: int
    ) -> list[Rung]:
        """One later rung for each climber, which `sampled` are the pictures of."""
        makers: Mapping[str, Callable[[Sequence[Climber], Sequence[Pictures], int], list[Rung]]] = {
            "ascend": self._ascend,
            "cyclic": self._cycle,
            "known_image": self._pull_out,
        }

        def make(chosen: Sequence[int]) -> list[Rung]:
            return makers[strategy]([climbers[i] for i in chosen], [sampled[i] for i in chosen], restart)

        return self._kept(climbers, strategy, restart, make)

    def _kept(
        self, climbers: Sequence[Climber], strategy: str, restart: int, make: Callable[[Sequence[int]], list[Rung]]
    ) -> list[Rung]:
        """Rungs from the store, the missing ones made at once and stored."""
        keys = [climber.key_of(strategy) for climber in climbers]
        found = {i: self._store.load(key, strategy, restart) for i, key in enumerate(keys)}
        missing = [i for i, rung in found.items() if rung is None]
        if missing:
            for i, rung in zip(missing, make(missing), strict=True):
                self._store.save(keys[i], rung)
                found[i] = rung
        return [rung for rung in found.values() if rung is not None]

    def _ascend(self, climbers: Sequence[Climber], _sampled: Sequence[Pictures], restart: int) -> list[Rung]:
        assert self._scores is not None, "ascend without its sites is refused with the settings"
        targets = [climber.target for climber in climbers]
        climbed = ascend(self._denoiser, self._scores, targets, restart, self._ascent)
        looked = self._verifier.look(climbed.prompt_embeds, [f"ascend {restart}\n{c.key}" for c in climbers])
        kin = kinship(self._denoiser, self._scores, targets, climbed.prompt_embeds, self._ascent)
        cost = climbed.evaluations + 2 * N_KINSHIP
        rows = zip(looked, climbed.prompt_embeds, kin, strict=True)
        return [_rung("ascend", restart, one, cost, embeds, of_row) for one, embeds, of_row in rows]

    def _cycle(self, climbers: Sequence[Climber], sampled: Sequence[Pictures], restart: int) -> list[Rung]:
        embeds = self._embed(climbers)
        keys = [f"cyclic\n{climber.key}" for climber in climbers]
        drifted = cycle(self._denoiser, sampled, embeds, keys, self._cycles)
        looked = self._verifier.look_at(embeds, keys, drifted)
        cost = self._cycles.evaluations(len(sampled[0]))
        return [_rung("cyclic", restart, one, cost, e) for one, e in zip(looked, embeds, strict=True)]

    def _pull_out(self, climbers: Sequence[Climber], _sampled: Sequence[Pictures], restart: int) -> list[Rung]:
        rungs = []
        for climber in climbers:
            start = self._embed([climber])
            assert climber.known is not None, "known_image without training pictures is refused with the settings"
            embeds = pull_out(self._denoiser, climber.known, start, climber.key, self._known)
            (looked,) = self._verifier.look(embeds, [f"known image\n{climber.key}"])
            rungs.append(_rung("known_image", restart, looked, self._known.evaluations, embeds[0]))
        return rungs

    def _embed(self, climbers: Sequence[Climber]) -> Tensor:
        embeds = self._denoiser.embed(self._denoiser.tokenize([climber.target.caption for climber in climbers]))
        return embeds.float().cpu()


def _rung(
    strategy: str, restart: int, looked: Looked, cost: int, prompt_embeds: Tensor, kin: float | None = None
) -> Rung:
    return Rung(strategy, restart, cost + looked.evaluations, looked.pictures, looked.signs, prompt_embeds, kin)
