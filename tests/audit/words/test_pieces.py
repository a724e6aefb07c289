"""Slopes are the derivative of the loss by each token, and only tokens that a user can type have one."""

import numpy as np
import pytest
import torch

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.words.loss import DenoisingLoss
from flashbulb.audit.words.pieces import Pieces
from tests.audit.searches import WORDS, build_worded_pipe, evaluations_of
from tests.toy import build_toy_xl_pipe

TEXT = "star moon lake"
STEP = 1e-2


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return open_denoiser(build_worded_pipe())


def loss_of(denoiser: Denoiser, key: str = "x") -> DenoisingLoss:
    image = np.random.default_rng(0).integers(0, 256, (*denoiser.image_size, 3), dtype=np.uint8)
    return DenoisingLoss(denoiser, image, (0.5, 0.8), 0, key, batch_size=4)


def moved_loss(denoiser: Denoiser, loss: DenoisingLoss, place: int, token: int, share: float) -> float:
    """The loss where the vector of one token has moved by a share towards another's."""
    prompts = denoiser.encode([TEXT])
    (name, vectors), *_ = denoiser.token_embeddings(prompts).items()
    (there,) = denoiser.text.vectors(torch.tensor([token]))[name]
    vectors = vectors.clone()
    vectors[0, 1 + place] += share * (there - vectors[0, 1 + place])
    with torch.no_grad():
        return float(loss.of(denoiser.encode_from({name: vectors}, prompts)))


def test_a_slope_is_the_derivative_towards_a_token(denoiser: Denoiser) -> None:
    pieces, loss = Pieces(denoiser), loss_of(denoiser)
    slopes = pieces.slopes(TEXT, loss)
    assert denoiser.text.text_of(slopes.tokens) == TEXT
    steepest = slopes.change.abs().argmax(dim=1)
    for place, column in enumerate(steepest.tolist()):
        token = pieces.typed[column]
        both = [moved_loss(denoiser, loss, place, token, share) for share in (STEP, -STEP)]
        slope = float(slopes.change[place, column])
        assert slope == pytest.approx((both[0] - both[1]) / (2 * STEP), rel=0.05)
        own = pieces.typed.index(slopes.tokens[place])
        assert abs(float(slopes.change[place, own])) < 1e-3 * abs(slope)


def test_slopes_cost_three_evaluations_a_noise_level(denoiser: Denoiser) -> None:
    pieces, loss = Pieces(denoiser), loss_of(denoiser)
    before = denoiser.evaluations
    with evaluations_of(denoiser.pipe.unet) as spent:
        pieces.slopes(TEXT, loss)
    assert denoiser.evaluations - before == sum(spent) == 6


def test_only_letters_and_digits_are_typed(denoiser: Denoiser) -> None:
    texts = [denoiser.text.text_of([token]) for token in Pieces(denoiser).typed]
    assert set(WORDS) <= set(texts)
    assert all(text.isalnum() for text in texts)
    assert not any(denoiser.text.names_special_token(text) for text in texts)


def test_both_text_encoders_that_read_the_same_tokens_count() -> None:
    denoiser = open_denoiser(build_toy_xl_pipe())
    change = Pieces(denoiser).slopes("ab", loss_of(denoiser)).change
    vectors = denoiser.text.vectors(torch.tensor(Pieces(denoiser).typed))
    assert len(vectors) == 2
    assert change.abs().max() > 0


def test_the_loss_of_a_text_does_not_depend_on_the_others(denoiser: Denoiser) -> None:
    loss, texts = loss_of(denoiser), ["star", "moon lake", "tree boat bird"]
    alone = [loss.of_texts([text])[0] for text in texts]
    np.testing.assert_allclose(loss.of_texts(texts), alone, atol=3e-5)
    assert np.ptp(alone) > 3e-4
    assert loss.of_texts(texts) != loss_of(denoiser, "other noise").of_texts(texts)
