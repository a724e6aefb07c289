"""A search for words pays what it says, finds what every prompt gives, and finds nothing that no prompt gives."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flashbulb.audit.images.distances import RgbImage, RgbImages
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.pull.familiarity import RankPlan
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.run.finding_store import FindingStore
from flashbulb.audit.words.descent import Descent, DescentPlan
from flashbulb.audit.words.loss import DenoisingLoss
from flashbulb.audit.words.pieces import Pieces
from flashbulb.audit.words.words import Words, WordsPlan, WordsSearch
from tests.audit.searches import build_worded_pipe, evaluations_of

PLAN = WordsPlan(
    run_seed=0,
    shares=(0.7, 0.85),
    familiarity=RankPlan(0, share=0.15, n_noises=1),
    least_score=-100.0,
    n_starts=4,
    n_stages=2,
    stage_evaluations=40,
    descent=DescentPlan(n_changed=4, n_tokens=8, most_tokens=6),
    n_tried=2,
    n_trials=2,
    n_samples=4,
    sample_steps=2,
    guidance_scale=3.0,
    batch_size=8,
)


@pytest.fixture(scope="module")
def search() -> WordsSearch:
    denoiser = open_denoiser(build_worded_pipe())
    return WordsSearch(denoiser, Verifier(denoiser, VerifyPlan(0, 2, 2, 8)), None, PLAN)


@pytest.fixture(scope="module")
def given(search: WordsSearch) -> RgbImage:
    """An image that the toy model gives for some prompt."""
    denoiser = search._denoiser
    (image,) = denoiser.sample(
        denoiser.encode(["star moon"]).conditioning,
        [sample_generator(0, "x", 0)],
        num_inference_steps=2,
        guidance_scale=3.0,
        batch_size=1,
    )
    return np.asarray(image)


class ToldSearch(WordsSearch):
    """Spends what a search spends; every text then gives `shown` at all seeds but the last of each text."""

    shown: RgbImage

    def _sample(self, texts: Sequence[str], n: int, key: str) -> list[RgbImages]:
        sampled = super()._sample(texts, n, key)
        for images in sampled:
            images[: n - 1] = self.shown
        return sampled


@pytest.fixture(scope="module")
def told(search: WordsSearch, given: RgbImage) -> ToldSearch:
    told = ToldSearch(search._denoiser, Verifier(search._denoiser, VerifyPlan(0, 2, 2, 8)), None, PLAN)
    told.shown = checkered(given)
    return told


def checkered(like: RgbImage) -> RgbImage:
    """An image that no prompt of a toy model gives."""
    rows, columns = np.indices(like.shape[:2])
    return np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)


def test_an_image_that_no_prompt_gives_gets_no_words(search: WordsSearch, given: RgbImage) -> None:
    words = search.find(checkered(given), "x")
    assert (words.text, words.hits, len(words.images), words.score) == (None, 0, 0, None)
    assert 0 < words.evaluations <= search.most_evaluations


def test_a_search_pays_what_it_says_and_repeats_exactly(search: WordsSearch, given: RgbImage) -> None:
    with evaluations_of(search._denoiser.pipe.unet) as spent:
        first = search.find(given, "x")
    assert first.evaluations == sum(spent) <= search.most_evaluations
    second = search.find(given, "x")
    assert (first.text, first.hits, first.verdict) == (second.text, second.hits, second.verdict)
    np.testing.assert_array_equal(first.images, second.images)


def test_hits_count_the_fresh_samples_that_replicate(told: ToldSearch) -> None:
    words = told.find(told.shown, "x")
    assert words.text is not None
    assert (words.hits, len(words.images)) == (PLAN.n_samples - 1, PLAN.n_samples)
    np.testing.assert_array_equal(words.image, told.shown)
    assert words.evaluations <= told.most_evaluations


def test_what_the_model_does_not_know_gets_no_words(told: ToldSearch) -> None:
    demanding = ToldSearch(told._denoiser, told._verifier, None, replace(PLAN, least_score=100.0))
    demanding.shown = told.shown
    words = demanding.find(told.shown, "x")
    assert (words.text, words.hits, words.verdict) == (None, PLAN.n_samples - 1, "not_shown")
    assert words.score is not None


def test_a_descent_never_loses_its_best_text(search: WordsSearch, given: RgbImage) -> None:
    denoiser, losses = search._denoiser, []
    loss = DenoisingLoss(denoiser, given, PLAN.shares, 0, "x", 8)
    for evaluations in (1, 40, 120):
        descent = Descent(denoiser, Pieces(denoiser), loss, PLAN.descent, torch.Generator().manual_seed(0))
        ranked = descent.run(["star moon", "house"], evaluations)
        assert len(ranked) == len(set(ranked))
        assert all(len(denoiser.text.tokens_of(text)) <= PLAN.descent.most_tokens * 8 for text in ranked)
        losses_of_ranked = loss.of_texts(ranked)
        assert losses_of_ranked == pytest.approx(sorted(losses_of_ranked), abs=1e-4)
        losses.append(losses_of_ranked[0])
    assert losses[0] >= losses[1] >= losses[2]
    assert losses[2] < losses[0]


@pytest.mark.parametrize("has_text", [True, False])
def test_kept_words_are_read_back(search: WordsSearch, told: ToldSearch, tmp_path: Path, has_text: bool) -> None:
    words = (told if has_text else search).find(told.shown, "x")
    assert (words.text is not None) == has_text
    store = FindingStore(tmp_path, "words", Words, "a")
    store.save("finding-001", told.shown, words)
    kept = store.load("finding-001", told.shown)
    assert kept is not None
    assert replace(kept, images=words.images) == words
    np.testing.assert_array_equal(kept.images, words.images)
    assert FindingStore(tmp_path, "words", Words, "b").load("finding-001", told.shown) is None
    assert store.load("finding-002", told.shown) is None
    assert store.load("finding-001", told.shown // 2) is None  # of the image before a closing look
