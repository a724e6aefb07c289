"""Blind search for memorized images: neuron ascent from neutral starts, without any prompt (Flashbulb's own method).

A round climbs from many starts at once: random words, and words of a text where the user gives one. Each start sees a
random tenth of the neurons, so that starts diverge. The z-scores of what was found are projected out (deflation), so
that rounds diverge. Images that most seeds give without guidance are verified, and new ones are kept. More starts climb
without the denoiser (see `text_ascents`); what they show waits for a closing look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from flashbulb.audit.ascent.climb import Climbed, ClimbPlan, climb
from flashbulb.audit.ascent.neurons import HighestNeurons, NeuronScores, activations_of
from flashbulb.audit.ascent.starts import draw_starts, random_prompts
from flashbulb.audit.ascent.values import ValueScores, value_sites
from flashbulb.audit.detectors import Matrix
from flashbulb.audit.discover.candidates import Place, choose_apart, choose_samples
from flashbulb.audit.discover.deflation import with_direction
from flashbulb.audit.discover.state import NOT_SHOWN, Discovery, SearchState
from flashbulb.audit.discover.text_ascents import TextAscents, TextPlan
from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImage, RgbImages, medoid, tile_distances
from flashbulb.audit.images.reduced import reduce_images
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.evaluations import BACKWARD_COST
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.recover.outcome import Outcome, judge
from flashbulb.audit.recover.verify import Looked, Verifier, are_worth_a_look
from flashbulb.audit.run.shortage import ShrinkingBatches
from flashbulb.audit.statistics.baseline import fit_baseline
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.hooks.recorder import require_finite
from flashbulb.reports.bounds.unseen import estimate_unseen

SAME_IMAGE_DISTANCE = AGREEMENT_DISTANCE
"""Two findings this near are one image, as two seeds of one prompt are; blurred copies of one image may count twice."""

_N_DEFLATING = 2  # latents over which a solution's z-scores are averaged


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """A blind search.

    Args:
        run_seed: seed of every random number, together with the round.
        n_reference: neutral prompts that the baseline is fitted on.
        n_components: directions of style removed from z-scores.
        n_starts: starts of a round.
        seen_share: share of the neurons that each start sees.
        n_highest: neurons whose mean z is climbed.
        n_candidates: single samples of a round that are kept for closing looks, and as many glances.
        text: starts of a round that climb without the denoiser.
        patience: rounds without a new image after which the search stops.
        stop_at: share of new images among further finds at which it stops; None to disregard it.
    """

    run_seed: int
    num_inference_steps: int
    n_reference: int
    n_components: int
    n_starts: int
    seen_share: float
    n_highest: int
    n_candidates: int
    patience: int
    stop_at: float | None
    climb: ClimbPlan
    text: TextPlan


def cost_of_start(plan: SearchPlan, verifier: Verifier) -> int:
    """Return the UE of one start, at most: ascent, verification, deflation, and the text ascents that go with it."""
    glances = plan.text.n_per_start * plan.text.evaluations
    return (1 + BACKWARD_COST) * plan.climb.n_steps + verifier.most_evaluations + _N_DEFLATING + glances


class Search:
    """A blind search of one model by the neurons of `columns`, from random words and, if given, from `texts`."""

    def __init__(
        self,
        denoiser: Denoiser,
        columns: Columns,
        verifier: Verifier,
        training: TrainingImages | None,
        texts: Sequence[str],
        plan: SearchPlan,
    ) -> None:
        self._denoiser, self._verifier, self._training = denoiser, verifier, training
        self._texts, self._plan, self._batches = texts, plan, ShrinkingBatches(plan.climb.batch_size, "the search")
        timestep = denoiser.first_timestep(plan.num_inference_steps)

        def record_reference(batch_size: int) -> Matrix:
            generator = self._generator("reference", 0)
            prompts = random_prompts(denoiser, plan.n_reference, generator)
            return activations_of(denoiser, columns, timestep, prompts, generator, batch_size)

        reference = self._batches.call(record_reference)
        require_finite("activations of neutral prompts", torch.from_numpy(reference))
        self._scores = NeuronScores(denoiser, columns, timestep, fit_baseline(reference, plan.n_components))
        self._text_ascents: TextAscents | None = None
        if plan.text.n_per_start and (sites := value_sites(denoiser)):
            prompts = random_prompts(denoiser, plan.n_reference, self._generator("text reference", 0))
            scores = ValueScores(denoiser, sites, prompts, plan.climb.batch_size)
            self._text_ascents = TextAscents(denoiser, scores, plan.text)

    def begin(self) -> SearchState:
        """Return the state before the first round: nothing found, the baseline's UE spent."""
        empty = torch.zeros(0, self._scores.n_neurons, device=self._denoiser.device)
        return SearchState(
            empty, {"reference": self._plan.n_reference, "climb": 0, "verify": 0, "deflate": 0, "glance": 0}
        )

    def rounds(self, state: SearchState, budget: int | None) -> Iterator[list[Discovery]]:
        """Search until `budget` UE are spent or little is left; yields each round's findings and updates `state`.

        A round adds its findings to the state, and then its candidates. The last round has as many starts as the budget
        still covers at their highest cost.

        Args:
            budget: None to limit no UE.
        """
        highest_cost = cost_of_start(self._plan, self._verifier)
        while state.barren < self._plan.patience and not self.is_exhausted(state):
            affordable = self._plan.n_starts if budget is None else (budget - state.evaluations) // highest_cost
            n_starts = min(self._plan.n_starts, affordable)
            if n_starts < 1:
                return
            yield self._round(state, n_starts)

    def is_exhausted(self, state: SearchState) -> bool:
        """Return whether even the upper bound of what is left lies at `stop_at` or below."""
        unseen, stop_at = estimate_unseen([n for n in state.times_found if n]), self._plan.stop_at
        return unseen is not None and stop_at is not None and unseen.high <= stop_at

    def _round(self, state: SearchState, n: int) -> list[Discovery]:
        climbed, looked = self._batches.call(lambda batch_size: self._climb_and_look(state, n, batch_size))
        state.spent["climb"] += n * climbed.evaluations
        new = self._collect(state, climbed, looked)
        self._add_candidates(state, climbed, looked)
        self._add_glances(state, n * self._plan.text.n_per_start)
        state.barren = 0 if new else state.barren + 1
        state.n_rounds += 1
        state.n_starts += n
        return new

    def _climb_and_look(self, state: SearchState, n: int, batch_size: int) -> tuple[Climbed, Sequence[Looked]]:
        """Climb from the starts of the next round, and look at where they end."""
        plan, number = self._plan, state.n_rounds
        generator = self._generator("round", number)
        prompts = self._denoiser.encode(draw_starts(self._denoiser, self._texts, n, number, generator))
        seen = (torch.rand(n, self._scores.n_neurons, generator=generator) < plan.seen_share).float()
        objective = HighestNeurons(self._scores, plan.n_highest, seen.to(self._denoiser.device), state.found)
        noise = [self._generator(f"noise {i}", number) for i in range(n)]
        climbed = climb(self._denoiser, prompts, objective, replace(plan.climb, batch_size=batch_size), noise)
        known = state.found_images
        keys = [f"round {number} start {i}" for i in range(n)]
        self._verifier.plan = replace(self._verifier.plan, batch_size=batch_size)
        looked = self._verifier.look(climbed.conditioning, keys, lambda images: _index_among(images, known) is not None)
        return climbed, looked

    def _collect(self, state: SearchState, climbed: Climbed, looked: Sequence[Looked]) -> list[Discovery]:
        """Add what the starts of a round show to `state`, and return what is new."""
        n_known = len(state.discoveries)
        for i, look in enumerate(looked):
            state.spent["verify"] += look.evaluations
            outcome, row = self._judge(look), climbed.conditioning.rows([i])
            if outcome is not None:
                self._deflate(state, row)
            known = _index_of(outcome, look.images, state) if are_worth_a_look(look.images) else None
            if known is not None:
                state.times_found[known] += 1
            elif outcome is not None:
                cost = climbed.evaluations + look.evaluations
                place = (state.n_rounds, i)
                state.discoveries.append(Discovery(outcome, look.images, row, *place, cost, state.evaluations))
                state.times_found.append(1)
        return state.discoveries[n_known:]

    def _add_candidates(self, state: SearchState, climbed: Climbed, looked: Sequence[Looked]) -> None:
        """Add the most promising single samples of a round."""
        number, known = state.n_rounds, [discovery.image for discovery in state.discoveries]
        state.glimpses |= {(number, i): reduce_images(look.images) for i, look in enumerate(looked)}
        for start, sample in choose_samples(number, known, state.glimpses, self._plan.n_candidates):
            image, cost = looked[start].images[sample][None], climbed.evaluations + looked[start].evaluations
            _let_wait(state, image, (number, start), cost)

    def _add_glances(self, state: SearchState, n: int) -> None:
        """Add the most familiar of what `n` text ascents show."""
        ascents, number = self._text_ascents, state.n_rounds
        if ascents is None:
            return
        prompts = draw_starts(self._denoiser, self._texts, n, number, self._generator("text round", number))
        images, familiarity = self._batches.call(lambda size: ascents.glance(prompts, f"text {number}", size))
        cost = self._plan.text.evaluations
        state.spent["glance"] += n * cost
        known = [discovery.image for discovery in state.discoveries]
        for i in choose_apart(reduce_images(images), -familiarity, known, self._plan.n_candidates):
            _let_wait(state, images[i][None], (number, i), cost, float(familiarity[i]))

    def _judge(self, looked: Looked) -> Outcome | None:
        """Return the outcome of a verified start; None if it shows nothing or was not verified."""
        if looked.signs is None:
            return None
        outcome = judge(looked.images, self._training, looked.signs, source="blind")
        return None if outcome.verdict == "not_shown" else outcome

    def _deflate(self, state: SearchState, conditioning: Conditioning) -> None:
        """Project this solution's z-scores out of later rounds."""
        generator = self._generator("deflation", 0)
        latents = self._denoiser.noise([generator] * _N_DEFLATING)
        row = conditioning.to(self._denoiser.device, self._denoiser.dtype)
        z = self._scores.mean_over_noise(row, latents)[0]
        state.spent["deflate"] += _N_DEFLATING
        state.found = with_direction(state.found, z)

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        return sample_generator(self._plan.run_seed, f"search\n{purpose}", number)


def _let_wait(state: SearchState, image: RgbImages, place: Place, cost: int, familiarity: float | None = None) -> None:
    """Add an image, [1, height, width, 3], as a candidate for a closing look."""
    state.discoveries.append(
        Discovery(NOT_SHOWN, image, Conditioning({}), *place, cost, state.evaluations, familiarity)
    )
    state.times_found.append(0)


def _index_of(outcome: Outcome | None, images: RgbImages, state: SearchState) -> int | None:
    """Return which finding shows this image: same training image, or as near as two seeds of one prompt."""
    if outcome is not None and outcome.copied is not None:
        for i, discovery in enumerate(state.discoveries):
            if discovery.outcome.copied == outcome.copied:
                return i
    return _index_among(images, state.found_images)


def _index_among(images: RgbImages, known: Mapping[int, RgbImage]) -> int | None:
    """Return which known image the medoid of these images is; None if it is none of them."""
    if not known:
        return None
    middle = images[medoid(images)]
    distances = [float(tile_distances(image[None], middle)[0]) for image in known.values()]
    nearest = int(np.argmin(distances))
    return list(known)[nearest] if distances[nearest] <= SAME_IMAGE_DISTANCE else None
