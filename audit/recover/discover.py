"""Blind search for memorized pictures: neuron ascent from neutral starts, without any caption (Engram's own method).

A round climbs from many random word sequences at once. Each start looks at a random tenth of the neurons, so that
starts part ways; the z-scores of what was found are projected out (deflation), so that rounds do. What comes back at
most seeds without guidance is looked at closely, and what was not there before is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from audit.baseline import fit_baseline
from audit.denoiser import Denoiser
from audit.evidence import AGREEMENT_DISTANCE, Picture, Pictures, medoid, tile_distances
from audit.findings import Outcome, judge
from audit.recover.climb import BACKWARD_COST, ClimbPlan, climb
from audit.recover.deflation import with_direction
from audit.recover.neurons import HighestNeurons, NeuronScores, activations_of
from audit.recover.starts import neutral_tokens
from audit.recover.verify import Looked, Verifier
from audit.sampling import sample_generator
from audit.shards import Column
from audit.training_images import TrainingImages
from hooks import NonFiniteActivation

SAME_PICTURE_DISTANCE = AGREEMENT_DISTANCE
"""Two findings this near are one, as two seeds of one prompt are; blurred ones of one picture may count twice."""

_N_DEFLATING = 2  # latents over which a solution's z-scores are averaged


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """A blind search.

    Args:
        run_seed: every random number follows from it and the number of the round.
        n_reference: neutral captions whose neurons make the baseline.
        n_components: directions of style removed from z-scores.
        n_starts: of a round.
        seen_share: of the neurons, for each start.
        n_highest: neurons whose mean z is climbed.
        patience: rounds without a new picture after which the search stops.
    """

    run_seed: int
    num_inference_steps: int
    n_reference: int
    n_components: int
    n_starts: int
    seen_share: float
    n_highest: int
    patience: int
    climb: ClimbPlan


@dataclass(frozen=True, slots=True)
class Discovery:
    """One picture that the search brought out for the first time.

    Args:
        pictures: all that were sampled of it, [seed, height, width, 3].
        prompt_embeds: what gives it, [position, width].
        cost: UE of this start alone.
        evaluations: UE of the whole search until then.
    """

    outcome: Outcome
    pictures: Pictures
    prompt_embeds: Tensor
    round: int
    start: int
    cost: int
    evaluations: int

    @property
    def picture(self) -> Picture:
        """The one that stands for it."""
        return np.asarray(self.pictures[self.outcome.best])


@dataclass(slots=True)
class SearchState:
    """What a search knows after some rounds; enough to go on from.

    Args:
        found: orthonormal directions of z-scores that are no longer climbed, [direction, neuron].
        spent: UE by part: reference, climb, verify, deflate.
        barren: rounds in a row that brought nothing new.
        seconds: that its rounds took.
    """

    found: Tensor
    spent: dict[str, int]
    discoveries: list[Discovery] = field(default_factory=list)
    n_rounds: int = 0
    n_starts: int = 0
    barren: int = 0
    seconds: float = 0.0

    @property
    def evaluations(self) -> int:
        """UE in all."""
        return sum(self.spent.values())


def cost_of_start(plan: SearchPlan, verifier: Verifier) -> int:
    """UE of one start at most: its ascent, a close look, and the deflation of what it shows."""
    return (1 + BACKWARD_COST) * plan.climb.n_steps + verifier.most_evaluations + _N_DEFLATING


class Search:
    """A blind search of one model by the neurons of `columns`; a baseline from neutral captions is fitted first."""

    def __init__(
        self,
        denoiser: Denoiser,
        columns: Sequence[Column],
        verifier: Verifier,
        training: TrainingImages | None,
        plan: SearchPlan,
    ) -> None:
        self._denoiser, self._verifier, self._training, self._plan = denoiser, verifier, training, plan
        timestep = denoiser.first_timestep(plan.num_inference_steps)
        generator = self._generator("reference", 0)
        tokens = neutral_tokens(denoiser, plan.n_reference, generator)
        reference = activations_of(denoiser, columns, timestep, tokens, generator, plan.climb.batch_size)
        if not np.isfinite(reference).all():
            raise NonFiniteActivation("activations of neutral captions are not finite; try float32 or bfloat16 weights")
        self._scores = NeuronScores(denoiser, columns, timestep, fit_baseline(reference, plan.n_components))

    def begin(self) -> SearchState:
        """Nothing found yet, the baseline's UE spent."""
        empty = torch.zeros(0, self._scores.n_neurons, device=self._denoiser.device)
        return SearchState(empty, {"reference": self._plan.n_reference, "climb": 0, "verify": 0, "deflate": 0})

    def rounds(self, state: SearchState, budget: int) -> Iterator[list[Discovery]]:
        """Search until `budget` UE are spent or nothing new comes; gives what each round brought, `state` updated.

        The last round has as many starts as the budget still pays for, whatever they will show.
        """
        dearest = cost_of_start(self._plan, self._verifier)
        while state.barren < self._plan.patience:
            n_starts = min(self._plan.n_starts, (budget - state.evaluations) // dearest)
            if n_starts < 1:
                return
            yield self._round(state, n_starts)

    def _round(self, state: SearchState, n: int) -> list[Discovery]:
        plan, number = self._plan, state.n_rounds
        generator = self._generator("round", number)
        tokens = neutral_tokens(self._denoiser, n, generator)
        seen = (torch.rand(n, self._scores.n_neurons, generator=generator) < plan.seen_share).float()
        objective = HighestNeurons(self._scores, plan.n_highest, seen.to(self._denoiser.device), state.found)
        noise = [self._generator(f"noise {i}", number) for i in range(n)]
        climbed = climb(self._denoiser, tokens, objective, plan.climb, noise)
        known = [discovery.picture for discovery in state.discoveries]
        keys = [f"round {number} start {i}" for i in range(n)]
        looked = self._verifier.look(climbed.prompt_embeds, keys, lambda pictures: _is_among(pictures, known))
        state.spent["climb"] += n * climbed.evaluations
        new: list[Discovery] = []
        for i, one in enumerate(looked):
            state.spent["verify"] += one.evaluations
            outcome = self._judged(one)
            if outcome is None:
                continue
            self._deflate(state, climbed.prompt_embeds[i])
            if not self._is_known(outcome, one.pictures, [*state.discoveries, *new]):
                cost = climbed.evaluations + one.evaluations
                embeds = climbed.prompt_embeds[i]
                new.append(Discovery(outcome, one.pictures, embeds, number, i, cost, state.evaluations))
        state.discoveries += new
        state.n_rounds += 1
        state.n_starts += n
        state.barren = 0 if new else state.barren + 1
        return new

    def _is_known(self, outcome: Outcome, pictures: Pictures, discoveries: Sequence[Discovery]) -> bool:
        """Whether it is a picture found before: the same training picture, or as near as the same seeds' pictures."""
        if outcome.verdict == "confirmed" and outcome.nearest is not None:
            same = [d.outcome for d in discoveries if d.outcome.verdict == "confirmed"]
            if any(other.nearest is not None and other.nearest.index == outcome.nearest.index for other in same):
                return True
        return _is_among(pictures, [discovery.picture for discovery in discoveries])

    def _judged(self, looked: Looked) -> Outcome | None:
        """What a closely looked at start showed; None if nothing, or if it was not looked at."""
        if looked.signs is None:
            return None
        outcome = judge(looked.pictures, self._training, looked.signs, is_blind=True, is_pushed=True)
        return None if outcome.verdict == "not_shown" else outcome

    def _deflate(self, state: SearchState, prompt_embeds: Tensor) -> None:
        """No longer climb where this solution lies."""
        generator = self._generator("deflation", 0)
        latents = self._denoiser.noise([generator] * _N_DEFLATING)
        embeds = prompt_embeds[None].to(self._denoiser.device, self._denoiser.dtype)
        z = self._scores.mean_over_noise(embeds, latents)[0]
        state.spent["deflate"] += _N_DEFLATING
        state.found = with_direction(state.found, z)

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        return sample_generator(self._plan.run_seed, f"search\n{purpose}", number)


def _is_among(pictures: Pictures, known: Sequence[Picture]) -> bool:
    """Whether the picture that stands for these was found already."""
    picture = pictures[medoid(pictures)]
    return bool(known) and float(tile_distances(np.stack(known), picture).min()) <= SAME_PICTURE_DISTANCE
