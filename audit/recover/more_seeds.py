"""More seeds where they decide: a sequential rule that spends a budget of UE on prompts whose probability is open.

A prompt's samples are looked at up to three times: after the first seeds, after 4 and after 16 times as many. It is
given more if an image comes back at some of its seeds but not at all. Then, as long as the budget lasts, come prompts
that show nothing: flagged ones by falling spike score, and a control beside each, so that controls have the same
chances. `reports.bounds.replication` bounds the probabilities whatever made the sampling stop.

The samples of all prompts stay in memory until their prompt has climbed the ladder, 3 bytes a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, seed_agreement
from flashbulb.audit.recover.climbing import Climbing, Recovery
from flashbulb.audit.recover.tasks import Performer, sample_
from flashbulb.reports.bounds.replication import N_LOOKS
from flashbulb.reports.tables.limits import VERBATIM

GROWTH = 4
"""Factor by which the number of seeds grows from look to look."""


def add_seeds_(
    recovery: Recovery, performer: Performer, flagged: Sequence[Climbing], controls: Sequence[Climbing]
) -> None:
    """Sample all prompts, and some with more seeds, as long as `recovery.seed_budget` lasts.

    Args:
        performer: performs the tasks; what they find decides here which prompts come next.
        flagged: by falling spike score.
    """
    n = recovery.plan.n_samples
    per_image = recovery.plan.evaluations(recovery.denoiser) // n
    left = recovery.seed_budget
    sample_(performer, [*flagged, *controls], n)
    for _ in range(N_LOOKS - 1):
        cost = (GROWTH - 1) * n * per_image
        chosen = _open(flagged, controls, n)[: left // cost]
        sample_(performer, chosen, GROWTH * n)
        left -= cost * len(chosen)
        n *= GROWTH


def _open(flagged: Sequence[Climbing], controls: Sequence[Climbing], n: int) -> list[Climbing]:
    """Return the prompts of `n` samples whose probability is open, the most urgent first."""
    prompts = (*flagged, *controls)
    shown = {id(climbing): _n_shown(climbing) for climbing in prompts if len(climbing.shown.sampled) == n}
    some = [climbing for climbing in prompts if 0 < shown.get(id(climbing), 0) < n]
    none_flagged, none_controls = (
        [climbing for climbing in part if shown.get(id(climbing)) == 0] for part in (flagged, controls)
    )
    pairs = zip(none_flagged, none_controls, strict=False)
    return [*some, *chain.from_iterable(pairs), *none_flagged[len(none_controls) :]]


def _n_shown(climbing: Climbing) -> int:
    """Count the samples that copy training images; without these, the samples that agree on one image."""
    if climbing.recovery.training is not None:
        return sum(nearest is not None and nearest.kind == VERBATIM for nearest in climbing.shown.nearest)
    n_alike = round(seed_agreement(climbing.shown.sampled, AGREEMENT_DISTANCE) * len(climbing.shown.sampled))
    return n_alike if n_alike > 1 else 0
