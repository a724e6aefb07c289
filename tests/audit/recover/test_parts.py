"""Without training images, the fixed part of a prompt's samples counts if it holds their detail and signs of memory."""

import numpy as np
import pytest

from flashbulb.audit.images.fixed_part import masked_distances
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.memories import Sampled
from flashbulb.audit.recover.outcome import Outcome
from flashbulb.audit.recover.parts import judge_part, look_at_parts
from flashbulb.audit.recover.verify import Looked, Verifier, VerifyPlan
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.audit.training_images.templates import repeats_detail
from flashbulb.reports.tables.limits import PART_AT
from tests.audit.counting import counted_latents

SIDE = 32
PLAN = VerifyPlan(run_seed=3, n_samples=4, num_inference_steps=3, batch_size=5)
UPPER = np.zeros((SIDE, SIDE), dtype=bool)
UPPER[: SIDE * 3 // 4] = True
NOTHING = Outcome(0, 0.25, None, 0.1, "not_shown")


def smooth(seed: int) -> np.ndarray:
    """An image of blocks, so that its details survive being reduced."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return blocks.repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1)


def with_part(part: np.ndarray, rest: np.ndarray | None = None) -> np.ndarray:
    """Four seeds that repeat the upper part and differ below."""
    images = np.stack([smooth(seed) if rest is None else rest for seed in range(4)])
    images[:, UPPER] = part[UPPER]
    return images


TEMPLATE, SKY = with_part(smooth(9)), with_part(np.full((SIDE, SIDE, 3), 120, dtype=np.uint8))


@pytest.fixture(scope="module")
def verifier(toy_pipe) -> Verifier:
    return Verifier(open_denoiser(toy_pipe), PLAN)


@pytest.fixture(scope="module")
def conditioning(toy_pipe):
    return open_denoiser(toy_pipe).encode(["a red star", "a blue star"]).conditioning.kept()


def test_a_part_counts_only_if_it_holds_the_detail_of_every_image():
    assert repeats_detail(TEMPLATE, UPPER)
    assert not repeats_detail(SKY, UPPER)
    assert not repeats_detail(TEMPLATE, ~UPPER)
    other = TEMPLATE.copy()
    other[3] = smooth(5)
    assert not repeats_detail(other, UPPER)


@pytest.mark.parametrize(
    ("confidence", "verdict"), [(None, "not_shown"), (PART_AT - 0.01, "not_shown"), (PART_AT, "likely")]
)
def test_a_part_is_likely_from_its_limit_on(confidence, verdict):
    found = judge_part(NOTHING, confidence)
    assert (found.verdict, found.kind) == (verdict, "template" if verdict == "likely" else None)
    assert found.confidence == (confidence if verdict == "likely" else NOTHING.confidence)


def test_a_part_never_overrules_a_whole_image_or_training_images():
    shown = Outcome(0, 1.0, None, 0.95, "confirmed")
    compared = Outcome(0, 0.25, Nearest(0, "0.png", 0.5, False), 0.1, "not_shown")
    assert judge_part(shown, 0.99) is shown
    assert judge_part(compared, 0.99) is compared


def test_only_parts_with_detail_are_looked_at_and_paid_for(verifier, conditioning):
    images = [Looked(_shrunk(looked), None, 7) for looked in (TEMPLATE, SKY)]
    with counted_latents() as count:
        found = look_at_parts(verifier, conditioning, ["a", "b"], images)
    assert [looked.part_confidence is not None for looked in found] == [True, False]
    assert [looked.evaluations for looked in found] == [7 + count.n_latents, 7]
    assert count.n_latents == verifier.cost_of_signs + verifier.cost_of_samples


def test_a_regular_pattern_behind_something_else_is_no_part(verifier, conditioning):
    stripes = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    stripes[::8], stripes[1::8] = 255, 255
    striped = np.stack([stripes] * 4)
    for seed, image in enumerate(striped):
        image[-6:, -6:] = smooth(seed)[-6:, -6:]
    assert repeats_detail(striped, UPPER)
    (found,) = look_at_parts(verifier, conditioning.rows([0]), ["a"], [Looked(_shrunk(striped), None, 7)])
    assert found.part_confidence is None


def test_unguided_samples_that_exist_are_not_made_again(verifier, conditioning):
    images, row = _shrunk(TEMPLATE), conditioning.rows([0])
    plain = look_at_parts(verifier, row, ["a"], [Looked(images, None, 0)])
    kept = Looked(images, None, 0, verifier.sample(row, ["a"])[0])
    with counted_latents() as count:
        (again,) = look_at_parts(verifier, row, ["a"], [kept])
    assert again.evaluations == count.n_latents == verifier.cost_of_signs
    assert again.part_confidence == pytest.approx(plain[0].part_confidence)


def test_errors_count_inside_the_mask_alone(verifier, conditioning):
    row, image = conditioning.rows([0]), _shrunk(TEMPLATE)[:1]
    whole = verifier.errors(row, ["a"], image)
    everywhere = verifier.errors(row, ["a"], image, np.ones((1, 16, 16), dtype=bool))
    inside, outside = (verifier.errors(row, ["a"], image, mask[None, ::2, ::2]) for mask in (UPPER, ~UPPER))
    assert whole == everywhere
    assert min(*inside[1], *outside[1]) < whole[1][0] < max(*inside[1], *outside[1])
    assert inside[0] != outside[0]


def test_every_sample_that_has_the_part_shows_a_template():
    one_other = TEMPLATE.copy()
    one_other[3] = smooth(5)
    samples = Sampled(one_other, [None] * 4)
    assert samples.count_part(TEMPLATE[0], UPPER, 0.1) == 3
    assert masked_distances(TEMPLATE, TEMPLATE[0], UPPER).tolist() == [0.0] * 4
    assert (masked_distances(TEMPLATE[1:], TEMPLATE[0], ~UPPER) > 0.1).all()


def _shrunk(images: np.ndarray) -> np.ndarray:
    return images[:, ::2, ::2]
