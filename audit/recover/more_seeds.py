"""More seeds where they decide: a sequential rule that spends a budget of UE on prompts whose probability is open.

A prompt's samples are looked at up to three times: after the first seeds, after 4 and after 16 times as many. It is
given more if an image comes back at some of its seeds but not at all. Then, as long as the budget lasts, come prompts
that show nothing: flagged ones by falling spike score, and a control beside each, so that controls have the same
chances. `reports.bounds.replication` bounds the probabilities whatever made the sampling stop.

The samples of all prompts stay in memory until their prompt has climbed the ladder, 3 bytes a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, seed_agreement
from flashbulb.audit.recover.climbing import Climbing, Recovery
from flashbulb.audit.recover.samples import load_images, sample_and_keep
from flashbulb.audit.run.progress import track
from flashbulb.reports.bounds.replication import N_LOOKS
from flashbulb.reports.tables.limits import VERBATIM

GROWTH = 4
"""Factor by which the number of seeds grows from look to look."""


def add_seeds_(recovery: Recovery, flagged: Sequence[Climbing], controls: Sequence[Climbing]) -> None:
    """Sample all prompts, and some with more seeds, as long as `recovery.seed_budget` lasts.

    Args:
        flagged: by falling spike score.
    """
    n = recovery.plan.n_samples
    per_image = recovery.plan.evaluations(recovery.denoiser) // n
    left = recovery.seed_budget
    sample_(recovery, [*flagged, *controls], n)
    for _ in range(N_LOOKS - 1):
        cost = (GROWTH - 1) * n * per_image
        chosen = _open(flagged, controls, n)[: left // cost]
        sample_(recovery, chosen, GROWTH * n)
        left -= cost * len(chosen)
        n *= GROWTH


def _open(flagged: Sequence[Climbing], controls: Sequence[Climbing], n: int) -> list[Climbing]:
    """Return the prompts of `n` samples whose probability is open, the most urgent first."""
    shown = {id(one): _n_shown(one) for one in (*flagged, *controls) if len(one.sampled) == n}
    some = [one for one in (*flagged, *controls) if 0 < shown.get(id(one), 0) < n]
    of_flagged, of_controls = ([one for one in part if shown.get(id(one)) == 0] for part in (flagged, controls))
    pairs = zip(of_flagged, of_controls, strict=False)
    return [*some, *chain.from_iterable(pairs), *of_flagged[len(of_controls) :]]


def _n_shown(climbing: Climbing) -> int:
    """Count the samples that copy training images; without these, the samples that agree on one image."""
    if climbing.recovery.training is not None:
        return sum(nearest is not None and nearest.kind == VERBATIM for nearest in climbing.nearest)
    n_alike = round(seed_agreement(climbing.sampled, AGREEMENT_DISTANCE) * len(climbing.sampled))
    return n_alike if n_alike > 1 else 0


def sample_(recovery: Recovery, prompts: Sequence[Climbing], n: int) -> None:
    """Bring prompts to `n` plain samples, from disk or else sampled in batches and kept; more are left as they are."""
    pending = [climbing for climbing in prompts if len(climbing.sampled) < n]
    plan = replace(recovery.plan, n_samples=n)
    missing: dict[int, list[Climbing]] = {}
    for climbing in pending:
        first = len(climbing.sampled)
        images = load_images(climbing.folder, climbing.prompt.text, plan, recovery.fingerprint, first)
        if images is None:
            missing.setdefault(first, []).append(climbing)
        else:
            climbing.add_samples(images)
    for first, rows in missing.items():
        per_call = max(1, recovery.batch_size // (n - first))
        with track("sampling", len(rows), "prompts") as advance:
            for start in range(0, len(rows), per_call):
                chunk = rows[start : start + per_call]
                texts = {one.folder: one.prompt.text for one in chunk}
                keeps, fingerprint = recovery.keep_images, recovery.fingerprint
                sampled = sample_and_keep(recovery.denoiser, texts, plan, fingerprint, first, keeps=keeps)
                for climbing, images in zip(chunk, sampled, strict=True):
                    climbing.add_samples(images)
                advance(len(chunk))
