"""A closing look costs what it says, stops once it is sure, and takes no plain colour for a memory."""

from pathlib import Path

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline

from flashbulb.audit.discover import closing
from flashbulb.audit.discover.closing import Closed, ClosingLooks, confidence_of, signs_of
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.signs import Regression
from flashbulb.audit.run.finding_store import FindingStore
from flashbulb.audit.stages.results.closing import closing_looks
from tests.audit.searches import build_worded_pipe, evaluations_of, quick

SURE, UNSURE, HOPELESS = Regression(50.0, {}), Regression(0.0, {}), Regression(-1.0, {})


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    """A toy pipeline; leave it as it was."""
    return build_worded_pipe()


@pytest.fixture(scope="module")
def images() -> RgbImages:
    """Three images of random blocks, none of them plain, [image, 16, 16, 3]."""
    blocks = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return blocks.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(autouse=True)
def short(short_pulls: int) -> None:
    """Use short pulls."""


def looks_of(pipe: StableDiffusionPipeline) -> ClosingLooks:
    return closing_looks(quick(batch_size=8), open_denoiser(pipe))


@pytest.mark.parametrize(("weights", "n_pulls"), [(SURE, 1), (UNSURE, 2), (HOPELESS, 1)])
def test_a_look_costs_what_the_denoiser_computes_and_ends_once_it_is_sure_or_hopeless(
    pipe: StableDiffusionPipeline, images: RgbImages, monkeypatch: pytest.MonkeyPatch, weights: Regression, n_pulls: int
) -> None:
    monkeypatch.setattr(closing, "WEIGHTS", weights)
    monkeypatch.setattr(closing, "MIN_SHIFT_DISTANCE", 0.0)  # a toy model paints no shapes
    looks = looks_of(pipe)
    with evaluations_of(pipe.unet) as spent:
        closed = looks.look(images, ["a", "b", "c"])
    assert sum(spent) == sum(looked.evaluations for looked in closed)
    assert {looked.evaluations for looked in closed} == {looks.most_evaluations * n_pulls // looks.plan.n_pulls}


@pytest.mark.parametrize(("second", "confidence"), [(0.95, 0.95), (0.8, 0.6), (0.2, 0.3)])
def test_unless_a_pull_confirms_a_look_is_as_sure_as_its_pulls_are_on_average(
    pipe: StableDiffusionPipeline,
    images: RgbImages,
    monkeypatch: pytest.MonkeyPatch,
    second: float,
    confidence: float,
) -> None:
    looks, given = looks_of(pipe), iter([0.4, second])
    monkeypatch.setattr(looks, "_pull", lambda aims, keys: [Closed(aims[0][None], next(given), 119)])
    monkeypatch.setattr(ClosingLooks, "_cost_of_pull", 119)
    (closed,) = looks.look(images[:1], ["a"])
    assert (closed.confidence, closed.evaluations) == (pytest.approx(confidence), 238)


def test_a_look_does_not_depend_on_the_images_beside_it(pipe: StableDiffusionPipeline, images: RgbImages) -> None:
    together = looks_of(pipe).look(images, ["a", "b", "c"])
    (alone,) = looks_of(pipe).look(images[1:2], ["b"])
    assert alone.confidence == pytest.approx(together[1].confidence, rel=1e-3)
    assert np.abs(alone.images.astype(int) - together[1].images).max() <= 1  # batches round differently


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_look_computes_no_more_images_at_once_than_it_may(
    pipe: StableDiffusionPipeline, images: RgbImages, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    looks = closing_looks(quick(batch_size=batch_size), denoiser := open_denoiser(pipe))
    encode, encoded = denoiser.encode_images, list[int]()
    monkeypatch.setattr(denoiser, "encode_images", lambda given: encoded.append(len(given)) or encode(given))
    with evaluations_of(pipe.unet) as spent:
        looks.look(images, ["a", "b", "c"])
    assert max(encoded) == batch_size
    assert max(spent) == 3 * batch_size  # UE of an ascent's step


def test_confidence_falls_with_the_distance_to_the_aim_and_with_the_errors(images: RgbImages) -> None:
    samples = images[[0, 0, 0]]

    def confidence(aim: int, rank: float = 2.0, error: float = -4.5) -> float:
        return confidence_of(signs_of(samples, images[aim], rank, error, -3.2), samples)

    assert confidence(0) > confidence(1)
    assert confidence(0) > confidence(0, rank=0.5)
    assert confidence(0) > confidence(0, error=-3.5)


def test_a_plain_colour_is_no_memory_however_well_the_model_knows_it() -> None:
    plain = np.full((3, 16, 16, 3), 90, dtype=np.uint8)
    assert confidence_of(signs_of(plain, plain[0], 9.0, -9.0, -9.0), plain) == 0


def test_a_look_is_kept_exactly_and_only_for_its_own_identity_and_image(tmp_path: Path, images: RgbImages) -> None:
    kept, aim = Closed(images, 0.1 + 0.2, 238), images[0]
    this, another = (FindingStore(tmp_path, "closing", Closed, identity) for identity in ("this", "another"))
    this.save("finding-001", aim, kept)
    loaded = this.load("finding-001", aim)
    assert loaded is not None
    assert (loaded.confidence, loaded.evaluations) == (kept.confidence, kept.evaluations)
    assert np.array_equal(loaded.images, images)
    assert another.load("finding-001", aim) is None
    assert this.load("finding-002", aim) is None
    assert this.load("finding-001", images[1]) is None
