"""What decides by a number of the model refuses one that is not finite: every comparison with it would be false."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from flashbulb.audit.ascent.shorten import leave_words_out
from flashbulb.audit.canaries.losses import score_pairs
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.pull.familiarity import RankPlan, familiarity
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.words.loss import DenoisingLoss
from flashbulb.hooks import NonFiniteActivation
from tests.audit.scored import Scored, scored_of
from tests.toy import build_toy_pipe

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
TEXTS = ["a red star over the sea", "a blue hill"]


@pytest.fixture(scope="module")
def scored() -> Scored:
    return scored_of(build_toy_pipe())


@pytest.fixture
def broken(scored: Scored) -> Iterator[Scored]:
    """The same model, whose neurons overflow for the last latent of each call alone."""

    def overflow(_module: object, _args: object, output: torch.Tensor) -> torch.Tensor:
        return torch.cat([output[:-1], output[-1:] * torch.nan])

    neurons = scored.denoiser.pipe.unet.mid_block.attentions[0].transformer_blocks[0].ff.net[0]
    handle = neurons.register_forward_hook(overflow)
    yield scored
    handle.remove()


def verify(scored: Scored) -> object:
    conditioning = scored.denoiser.encode(TEXTS).conditioning.kept()
    return Verifier(scored.denoiser, VerifyPlan(0, 2, 2, 8)).errors(conditioning, TEXTS, IMAGES)


def rank(scored: Scored) -> object:
    return familiarity(scored.denoiser, IMAGES, RankPlan(0, share=0.15, n_noises=1))


def score_canaries(scored: Scored) -> object:
    return score_pairs(scored.denoiser, IMAGES, TEXTS, run_seed=0)


def search_words(scored: Scored) -> object:
    return DenoisingLoss(scored.denoiser, IMAGES[0], (0.7, 0.85), 0, "key", 8).of_texts(TEXTS)


def shorten(scored: Scored) -> object:
    generators = [torch.Generator().manual_seed(0)] * 2
    return leave_words_out(scored.denoiser, scored.scores, TEXTS, 1, 4, generators, 8)


def compare_neurons(scored: Scored) -> object:
    denoiser = scored.denoiser
    latents = denoiser.noise([torch.Generator().manual_seed(0)])
    return scored.scores.mean_over_noise(denoiser.encode(TEXTS).conditioning, latents)


@pytest.mark.parametrize("decide", [verify, rank, score_canaries, search_words, shorten, compare_neurons])
def test_a_number_that_is_not_finite_decides_nothing(
    scored: Scored, decide: Callable[[Scored], object], request: pytest.FixtureRequest
) -> None:
    decide(scored)
    broken = request.getfixturevalue("broken")
    with pytest.raises(NonFiniteActivation, match="not finite; load the model in float32 or bfloat16"):
        decide(broken)


def test_images_that_the_autoencoder_cannot_encode_are_refused(scored: Scored) -> None:
    denoiser: Denoiser = scored.denoiser
    handle = denoiser.pipe.vae.encoder.register_forward_hook(lambda *args: args[2] * torch.nan)
    try:
        with pytest.raises(NonFiniteActivation, match="encoded images are not finite"):
            denoiser.encode_images(IMAGES)
    finally:
        handle.remove()
