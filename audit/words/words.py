"""Find a prompt in words that gives an image back, and measure its probability per seed by plain samples.

A found embedding is no evidence that a user can meet the image. The search lowers the denoising loss of the image over
texts. Its best texts are sampled as a user would. The image that an ascent left is soft; samples of a text are sharper,
and the search goes on with the sample that the model knows best. The last text is sampled at seeds that the search
never saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from flashbulb.audit.ascent.starts import random_prompts
from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImage, RgbImages, medoid, tile_distances
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.evaluations import BACKWARD_COST
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.pull.evidence import evidence_of, score_of
from flashbulb.audit.pull.familiarity import RankPlan, familiarity
from flashbulb.audit.recover.outcome import judge
from flashbulb.audit.recover.verify import Verifier
from flashbulb.audit.training_images.matching import is_replica
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.words.descent import Descent, DescentPlan
from flashbulb.audit.words.loss import DenoisingLoss
from flashbulb.audit.words.pieces import Pieces

NEAR = 2 * AGREEMENT_DISTANCE
"""A sample of a text shows the image if it lies this near: the images of ascents are soft."""
LEAST_SHARE = 0.5
"""Share of the samples of a text that must show the image; with fewer the text is not taken."""
MIN_COPIES = 2
"""Hits of words, at least: one may be chance."""
_DIFFERENT = 0.35  # least share of the tokens of two texts that one of them lacks, for both to be sampled
_KEPT = 16  # texts that the next stage starts from


@dataclass(frozen=True, slots=True)
class WordsPlan:
    """A search for words.

    Args:
        shares: of the noise schedule at which the image is denoised.
        familiarity: how it is measured which samples the model knows best.
        least_score: that the samples of words must exceed, as those of a pull (`pull.evidence.score_of`). A model also
            draws images that it never saw, from a description; it does not know them better than their variants.
        n_starts: random texts to start from.
        n_stages: descents, each followed by samples.
        stage_evaluations: UE of the descent of one stage.
        n_tried: texts of a stage that are sampled, and `n_trials` their samples.
        n_samples: samples of the last text, with fresh seeds.
    """

    run_seed: int
    shares: tuple[float, ...]
    familiarity: RankPlan
    least_score: float
    n_starts: int
    n_stages: int
    stage_evaluations: int
    descent: DescentPlan
    n_tried: int
    n_trials: int
    n_samples: int
    sample_steps: int
    guidance_scale: float
    batch_size: int

    @property
    def identity(self) -> dict[str, Any]:
        """What words depend on, as JSON values: not how many images are computed at once."""
        return asdict(replace(self, batch_size=1))


@dataclass(frozen=True, slots=True)
class Words:
    """What a search for words found.

    Args:
        text: the prompt; None if no text gives the image, or the model does not know what it gives.
        hits: of the images, those that replicate what the text gave before.
        images: samples of the text with fresh seeds, [sample, height, width, 3]; none if no text was sampled.
        score: familiarity of the hits plus closeness of the samples; None if no text was sampled.
        verdict: of these images, judged as plain samples of any prompt are.
        evaluations: UE spent.
    """

    text: str | None
    hits: int
    images: RgbImages
    score: float | None
    verdict: str
    evaluations: int

    @property
    def image(self) -> RgbImage:
        """The sample that represents them."""
        return np.asarray(self.images[medoid(self.images)])


@dataclass(frozen=True, slots=True)
class _Tried:
    """A text that was sampled.

    Args:
        share: of its samples that show the image.
        known: mean familiarity of its samples, 0 for those that do not show the image.
        best: the sample that the model knows best, among those that show the image.
    """

    text: str
    share: float
    known: float
    best: RgbImage

    @property
    def rank(self) -> tuple[bool, float, float]:
        return self.share >= LEAST_SHARE, self.known, self.share


class WordsSearch:
    """Searches for prompts in words, in one model.

    Args:
        verifier: judges the samples of the words found.
    """

    def __init__(
        self, denoiser: Denoiser, verifier: Verifier, training: TrainingImages | None, plan: WordsPlan
    ) -> None:
        self._denoiser, self._verifier, self._training, self.plan = denoiser, verifier, training, plan
        self._pieces = Pieces(denoiser)

    @property
    def most_evaluations(self) -> int:
        """UE of one image, at most."""
        plan = self.plan
        sample_cost = self._denoiser.evaluations_per_image(plan.sample_steps, plan.guidance_scale)
        step_cost = len(plan.shares) * (1 + BACKWARD_COST + plan.descent.n_changed)
        starts_cost = len(plan.shares) * max(plan.n_starts, _KEPT)
        trials_cost = plan.n_tried * plan.n_trials * (sample_cost + plan.familiarity.evaluations)
        stage_cost = max(plan.stage_evaluations + step_cost, starts_cost) + trials_cost
        fresh_cost = plan.n_samples * (sample_cost + plan.familiarity.evaluations)
        return plan.n_stages * stage_cost + fresh_cost + self._verifier.most_evaluations

    def find(self, image: RgbImage, key: str) -> Words:
        """Search for a prompt that gives `image` [height, width, 3].

        Args:
            key: seed of all random numbers, with the run's.
        """
        before = self._denoiser.evaluations
        best = self._search(image, key)
        images, is_hit = image[None][:0], np.zeros(0, dtype=np.bool_)
        if best.share >= LEAST_SHARE:
            (images,) = self._sample([best.text], self.plan.n_samples, f"fresh\n{key}")
            near = zip(images, tile_distances(images, best.best), strict=True)
            is_hit = np.array([is_replica(sample, best.best, float(distance)) for sample, distance in near])
        text, score, verdict = None, None, "not_shown"
        if is_hit.any():
            known = float(familiarity(self._denoiser, images[is_hit], self.plan.familiarity).mean())
            score = score_of(known, evidence_of(images, best.best), MIN_COPIES)
        if score is not None and score > self.plan.least_score:
            text, conditioning = best.text, self._denoiser.encode([best.text]).conditioning
            (looked,) = self._verifier.look_at_guided(conditioning, [f"words\n{key}"], [images])
            verdict = judge(images, self._training, looked.signs).verdict
        return Words(text, int(is_hit.sum()), images, score, verdict, self._denoiser.evaluations - before)

    def _search(self, image: RgbImage, key: str) -> _Tried:
        plan, generator = self.plan, sample_generator(self.plan.run_seed, f"words\n{key}", 0)
        texts: Sequence[str] = random_prompts(self._denoiser, plan.n_starts, generator)
        target, best = image, None
        for stage in range(plan.n_stages):
            loss = DenoisingLoss(self._denoiser, target, plan.shares, plan.run_seed, f"{key} {stage}", plan.batch_size)
            descent = Descent(self._denoiser, self._pieces, loss, plan.descent, generator)
            texts = descent.run(texts[:_KEPT] if stage else texts, plan.stage_evaluations)
            for tried in self._try(image, texts, f"try {stage}\n{key}"):
                if best is None or tried.rank >= best.rank:
                    best = tried
            if best is not None and best.share >= LEAST_SHARE:
                target = best.best
        assert best is not None, "a search has at least one stage, and a stage tries at least one text"
        return best

    def _try(self, image: RgbImage, texts: Sequence[str], key: str) -> list[_Tried]:
        """Sample the best of `texts` that differ from one another."""
        chosen = self._different(texts)
        tried = []
        for text, images in zip(chosen, self._sample(chosen, self.plan.n_trials, key), strict=True):
            is_near = tile_distances(images, image) <= NEAR
            known = np.zeros(len(images))
            if is_near.any():
                known[is_near] = familiarity(self._denoiser, images[is_near], self.plan.familiarity)
            best = images[int(np.where(is_near, known, -np.inf).argmax())]
            tried.append(_Tried(text, float(is_near.mean()), float(known.mean()), best))
        return tried

    def _different(self, texts: Sequence[str]) -> list[str]:
        chosen: dict[str, set[int]] = {}
        for text in texts:
            tokens = set(self._denoiser.text.tokens_of(text))
            if all(len(tokens ^ other) >= _DIFFERENT * len(tokens | other) for other in chosen.values()):
                chosen[text] = tokens
            if len(chosen) == self.plan.n_tried:
                break
        return list(chosen)

    def _sample(self, texts: Sequence[str], n: int, key: str) -> list[RgbImages]:
        """Sample each text as a user would: [seed, height, width, 3] each."""
        images = self._denoiser.sample(
            self._denoiser.encode(texts).conditioning.repeat(n),
            [sample_generator(self.plan.run_seed, f"words {key}\n{text}", i) for text in texts for i in range(n)],
            num_inference_steps=self.plan.sample_steps,
            guidance_scale=self.plan.guidance_scale,
            batch_size=self.plan.batch_size,
        )
        return np.split(images, len(texts))
