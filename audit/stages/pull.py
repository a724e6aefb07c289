"""Run a pull: rank the images and controls, pull at the best ranked, and write which came out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from flashbulb.audit.additions.chosen import chosen_model, load_chosen, model_name
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.images.png import pixel_key
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.pull.evidence import evidence_of
from flashbulb.audit.pull.familiarity import RankPlan, familiarity
from flashbulb.audit.pull.pulling import PullPlan, pull
from flashbulb.audit.pull.store import Pulled, PullStore
from flashbulb.audit.run.directory import RunDirectory, fingerprint_of
from flashbulb.audit.run.progress import Stopwatch, track
from flashbulb.audit.run.shortage import ShrinkingBatches
from flashbulb.audit.run.torch_state import computing, torch_as_started
from flashbulb.audit.settings import PullSettings, SettingsError
from flashbulb.audit.stages.claim import former_results
from flashbulb.audit.stages.kept.identity import command_identity
from flashbulb.audit.stages.kept.replay import Replay
from flashbulb.audit.stages.opening.examine import examine_model
from flashbulb.audit.stages.results.pull import GivenImages, PullSession, write_pull_results
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.reports.pull.record import PULL_FILE, PULL_PAGE, PullRecord
from flashbulb.reports.tables.files import EVIDENCE_FILE
from flashbulb.reports.tables.run_record import PULL_RUNNING
from flashbulb.reports.views.terminal import SummaryConsole

logger = logging.getLogger(__name__)

PULL_DIRECTORY = "pull"


@torch_as_started()
def run_pull(settings: PullSettings, *, force: bool, replayed: Replay[PullSettings] | None = None) -> PullRecord:
    """Rank the images, pull at the best ranked until the budget is spent, and print which came out.

    An interrupted pull is resumed.

    Raises:
        one of `USAGE_ERRORS` or SettingsError: a mistake in the inputs.
        NonFiniteActivation: an image of the model is not finite.
    """
    _check_inputs(settings)
    loaded = load_chosen(chosen_model(settings), settings.device, settings.dtype)
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    denoiser.require("pull")
    identity = command_identity("pull", settings, loaded)
    if replayed is not None:
        replayed.compare_inputs(identity)
    RunDirectory.examine(settings.out, identity, force=force)  # before anything takes long
    examine_model(settings, denoiser, ())
    watch = Stopwatch()
    with watch.stage("rank"):
        sources = [source for source in (settings.source, settings.controls) if source is not None]
        opened = [open_training_images(source, *denoiser.image_size) for source in sources]
    rank_cost = rank_plan(settings).evaluations * sum(len(training.paths) for training in opened)
    if settings.budget is not None and settings.budget < rank_cost:
        raise SettingsError(
            f"--budget {settings.budget} does not pay for the ranks of all images, which take {rank_cost} denoiser "
            "evaluations; give more"
        )
    former = former_results(PULL_FILE, PULL_PAGE, EVIDENCE_FILE)
    with RunDirectory.open(settings.out, identity, force=force, former=former) as run, computing():
        run.update(status=PULL_RUNNING)
        logger.info("%s (%s, %s on %s)", model_name(settings), loaded.fingerprint, loaded.dtype, loaded.device)
        store = PullStore(run.path / PULL_DIRECTORY, fingerprint_of(identity))
        with watch.stage("rank"):
            images, *others = [_rank(settings, denoiser, store, training) for training in opened]
            controls = others[0].distinct() if others else None
        session = PullSession(settings, loaded, images, controls, run, SummaryConsole(), watch.seconds, rank_cost)
        with watch.stage("pull"):
            _pull_both(session, denoiser, store)
        return write_pull_results(session)


def _check_inputs(settings: PullSettings) -> None:
    for name, source in (("SOURCE", settings.source), ("--controls", settings.controls)):
        if source is not None and not source.exists():
            raise SettingsError(f"no {source}; give {name} a folder, a .tar or an index of images")
    if settings.controls is not None and settings.controls.resolve() == settings.source.resolve():
        raise SettingsError(
            f"--controls {settings.controls} are the images themselves; give images that the model was never trained on"
        )


def _rank(settings: PullSettings, denoiser: Denoiser, store: PullStore, training: TrainingImages) -> GivenImages:
    """Rank all images of a set, block by block; of an image that EXIF turns both views, of which the better counts."""
    keys: list[str] = []
    ranks: list[npt.NDArray[np.float64]] = []
    n_rows = len(training.paths)
    with track("ranking", n_rows, "images") as advance:
        for first in range(0, n_rows, settings.per_call):
            images = _read(training, range(first, min(first + settings.per_call, n_rows)))
            block = [pixel_key(image) for image in images]
            known = store.ranks(block)
            if known is None:
                known = _familiarity(denoiser, images, rank_plan(settings))
                store.save_ranks(block, known)
            keys += block
            ranks.append(known)
            advance(len(block))
    familiar = np.concatenate(ranks)
    rows = [max(views, key=familiar.__getitem__) for views in training.views()]
    return GivenImages(training, rows, [keys[row] for row in rows], familiar[rows])


def _familiarity(denoiser: Denoiser, images: RgbImages, plan: RankPlan) -> npt.NDArray[np.float64]:
    """Return the rank of each image of a block, in calls of the denoiser that fit into memory."""

    def rank(size: int) -> npt.NDArray[np.float64]:
        parts = [images[first : first + size] for first in range(0, len(images), size)]
        return np.concatenate([familiarity(denoiser, part, plan) for part in parts])

    return ShrinkingBatches(len(images), "ranking").call(rank)


def _read(training: TrainingImages, rows: Sequence[int]) -> RgbImages:
    return np.stack([training.image(row) for row in rows])


def _pull_both(session: PullSession, denoiser: Denoiser, store: PullStore) -> None:
    """Pull at the controls, then at the images, the best ranked first; both only above the controls' median rank."""
    _refuse_shared(session)
    plan = pull_plan(session.settings)
    budget, cost = session.settings.budget, plan.evaluations(denoiser)
    left = None if budget is None else (budget - session.rank_cost) // cost
    lowest = -np.inf if session.controls is None else float(np.median(session.controls.familiarity))
    for given in (session.controls, session.images):
        if given is None:
            continue
        chosen = [i for i in given.order() if given.familiarity[i] > lowest]
        firsts = np.unique([given.keys[i] for i in chosen], return_index=True)[1]
        paid = [chosen[place] for place in sorted(firsts.tolist())][:left]
        left = None if left is None else left - len(paid)
        _pull_at(given, paid, denoiser, store, plan)
        given.count_copies_(chosen)
        given.n_unpaid = sum(i not in given.pulled for i in chosen)


def _refuse_shared(session: PullSession) -> None:
    """Refuse controls among the images: one that the model memorized sets a threshold that nothing exceeds."""
    if session.controls is None:
        return
    images, keys = set(session.images.keys), session.controls.keys
    shared = [index for index, key in enumerate(keys) if key in images]
    if shared:
        first = session.controls.training.label(session.controls.rows[shared[0]])
        raise SettingsError(
            f"{len(shared)} of {len(keys)} controls are among the images, the first {first}; take them out of "
            f"{session.settings.controls}, since controls are images that the model was never trained on"
        )


def _pull_at(given: GivenImages, chosen: Sequence[int], denoiser: Denoiser, store: PullStore, plan: PullPlan) -> None:
    """Pull at chosen images of a set, a batch at a time; what an earlier run kept is not pulled at again."""
    cost = plan.evaluations(denoiser)
    kept = store.pulled([given.keys[i] for i in chosen])
    given.pulled |= {i: kept[given.keys[i]] for i in chosen if given.keys[i] in kept}
    open_ones = [i for i in chosen if i not in given.pulled]

    batches = ShrinkingBatches(plan.batch_size, "pulling")

    def pull_next(size: int) -> tuple[RgbImages, RgbImages]:
        batch = open_ones[:size]
        images = _read(given.training, [given.rows[i] for i in batch])
        return images, pull(denoiser, images, [given.keys[i] for i in batch], replace(plan, batch_size=size))

    with track("pulling", len(chosen), "images", done=len(given.pulled)) as advance:
        while open_ones:
            images, samples = batches.call(pull_next)
            together = [given.keys[i] for i in open_ones[: len(images)]]
            for i, image, shown in zip(open_ones, images, samples, strict=False):
                evidence = evidence_of(shown, image)
                given.pulled[i] = Pulled(evidence, shown[evidence.best], cost, together)
                store.save_pulled(given.keys[i], given.pulled[i])
            open_ones = open_ones[len(images) :]
            advance(len(images))


def rank_plan(settings: PullSettings) -> RankPlan:
    """Return how images are ranked."""
    return RankPlan(settings.seed, settings.rank_share, settings.rank_noises)


def pull_plan(settings: PullSettings) -> PullPlan:
    """Return how images are pulled at."""
    return PullPlan(
        run_seed=settings.seed,
        n_steps=settings.steps,
        learning_rate=settings.learning_rate,
        radius=settings.radius,
        lowest=settings.lowest,
        highest=settings.highest,
        n_samples=settings.n_samples,
        sample_steps=settings.sample_steps,
        guidance_scale=settings.guidance_scale,
        batch_size=settings.per_call,
        checkpointing=settings.checkpointing,
    )
