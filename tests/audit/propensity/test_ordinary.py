"""Copies among samples of ordinary prompts are counted, and nothing else is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, tile_distances
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.propensity.ordinary import OrdinarySample, count_recurring, sample_ordinary
from flashbulb.audit.recover.samples import SamplePlan, sample_prompts
from flashbulb.audit.recover.tasks import Here
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.storage import open_training_images
from tests.audit.samplings import sampling_recovery

PLAN = SamplePlan(run_seed=3, n_samples=1, num_inference_steps=2, guidance_scale=3.0)
TEXTS = ["a red star", "the bakery of Ada Vasari", "a small blue circle", "zzqx", "a hill"]
PROMPTS = [Prompt(f"p{row}", text, "captions.txt", row, 1) for row, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def denoiser(toy_pipe):
    return open_denoiser(toy_pipe)


def sample(denoiser, run: Path, training=None, findings=None, prompts=PROMPTS, **how) -> list[OrdinarySample]:
    recovery = sampling_recovery(denoiser, run, PLAN, batch_size=2, training=training, **how)
    return sample_ordinary(recovery, Here(recovery), prompts, findings or {})


def training_images(folder: Path, *images: np.ndarray) -> TrainingImages:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    return open_training_images(folder, *images[0].shape[:2], None)


def test_a_sample_that_is_a_training_image_counts_and_others_do_not(denoiser, tmp_path) -> None:
    """The control: of five prompts only the one whose sample lies among the training images copies one."""
    (copied,) = sample_prompts(denoiser, [TEXTS[1]], PLAN)[0]
    noise = np.random.default_rng(0).integers(0, 256, copied.shape, dtype=np.uint8)
    training = training_images(tmp_path / "training", copied, noise)
    samples = sample(denoiser, tmp_path, training)
    assert [sample.nearest.kind for sample in samples] == [None, "verbatim", None, None, None]
    assert samples[1].nearest.path.name == "0.png"
    without = training_images(tmp_path / "others", noise)
    assert all(s.nearest.kind is None for s in sample(denoiser, tmp_path, without))


def test_without_training_images_a_sample_that_shows_a_finding_is_named_after_it(denoiser, tmp_path) -> None:
    shown = sample_prompts(denoiser, TEXTS[2:3], PLAN)[0][0]
    findings = {"finding-001": 255 - shown, "finding-002": shown}
    samples = sample(denoiser, tmp_path, findings=findings)
    assert [sample.finding_id for sample in samples] == [None, None, "finding-002", None, None]


def test_what_an_interrupted_run_sampled_is_not_sampled_again(denoiser, tmp_path) -> None:
    before = sample(denoiser, tmp_path)
    (tmp_path / "images" / "p3" / "seed-0.png").unlink()
    spent = denoiser.evaluations
    assert sample(denoiser, tmp_path) == before
    assert denoiser.evaluations - spent == PLAN.evaluations(denoiser)
    assert (tmp_path / "images" / "p3" / "seed-0.png").is_file()


def test_no_image_is_kept_if_none_may_be(denoiser, tmp_path) -> None:
    sample(denoiser, tmp_path, keep_images=False)
    assert not list(tmp_path.iterdir())


def test_no_ordinary_prompt_gives_no_sample(denoiser, tmp_path) -> None:
    assert sample(denoiser, tmp_path, prompts=()) == []


@pytest.mark.parametrize("side", [32, 40, 128])
def test_recurring_images_are_those_that_all_pairs_show(side: int) -> None:
    """Block means only spare comparisons; the result is that of comparing every pair."""
    generator = np.random.default_rng(side)
    originals = generator.integers(0, 256, (4, side, side, 3)).astype(float)
    images = [
        np.clip(original + generator.normal(0, spread, original.shape), 0, 255).astype(np.uint8)
        for original in originals
        for spread in (0, 5, 15, 60)
    ]
    pairs = np.array([tile_distances(np.array(images), image) <= AGREEMENT_DISTANCE for image in images])
    assert count_recurring(images) == (pairs.sum(axis=1) - 1).tolist()
    assert 0 < pairs.sum() - len(images) < 12 * len(images)


def test_flat_images_of_one_colour_are_no_recurrence() -> None:
    """Nothing but brightness is alike in them."""
    assert count_recurring([np.full((32, 32, 3), value, dtype=np.uint8) for value in (90, 91, 92)]) == [0, 0, 0]
