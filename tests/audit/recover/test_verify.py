"""A verifier samples at its own seeds, looks closer only where samples agree, and counts what it spends."""

import numpy as np
import pytest

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from tests.audit.counting import counted_latents
from tests.audit.noisy_images import image
from tests.tolerances import IMAGE_LEVELS

PLAN = VerifyPlan(run_seed=3, n_samples=4, num_inference_steps=3, batch_size=5)
KEYS = ["a", "b"]


@pytest.fixture(scope="module")
def denoiser(toy_pipe) -> Denoiser:
    return open_denoiser(toy_pipe)


@pytest.fixture(scope="module")
def verifier(denoiser) -> Verifier:
    return Verifier(denoiser, PLAN)


@pytest.fixture(scope="module")
def conditioning(denoiser):
    return denoiser.encode(["a red star", "zzqx !!!! @@@@ ####"]).conditioning.kept()


AGREEING, DISAGREEING = np.stack([image(0)] * 4), np.stack([image(i) for i in range(4)])


def test_samples_are_unguided_and_each_depends_on_its_key_alone(verifier, conditioning, denoiser):
    found = verifier.sample(conditioning, KEYS)
    assert found.shape == (2, 4, 16, 16, 3)
    generators = [sample_generator(3, "sample\nb", i) for i in range(4)]
    second = conditioning.rows([1])
    expected = denoiser.sample(second.repeat(4), generators, num_inference_steps=3, guidance_scale=1.0, batch_size=4)
    assert np.abs(found[1].astype(int) - expected).max() <= IMAGE_LEVELS
    assert np.abs(verifier.sample(second, ["c"])[0].astype(int) - expected).max() > IMAGE_LEVELS


def test_only_images_that_agree_are_looked_at_closely_and_paid_for(verifier, conditioning):
    for look in (verifier.look_at, verifier.look_at_guided):
        with counted_latents() as count:
            looked = look(conditioning, KEYS, [DISAGREEING, AGREEING])
        assert [image_look.signs is not None for image_look in looked] == [False, True]
        assert looked[0].evaluations == 0
        assert looked[1].evaluations == count.n_latents > 0
        np.testing.assert_array_equal(looked[0].images, DISAGREEING)
        assert looked[1].signs.agreement == 1.0
    assert verifier.look_at(conditioning, KEYS, [AGREEING] * 2)[0].signs.survival == pytest.approx(np.log(0.01))


def test_guided_images_that_agree_have_to_survive_without_guidance(verifier, conditioning):
    plain, guided = (look(conditioning, KEYS, [AGREEING] * 2) for look in (verifier.look_at, verifier.look_at_guided))
    for without, with_guidance in zip(plain, guided, strict=True):
        assert with_guidance.signs.survival > without.signs.survival
        assert with_guidance.signs.denoising_error == without.signs.denoising_error
        assert with_guidance.evaluations - without.evaluations == PLAN.n_samples * PLAN.num_inference_steps


def test_what_is_known_already_is_not_looked_at(verifier, conditioning):
    with counted_latents() as count:
        looked = verifier.look(conditioning, KEYS, is_known=lambda images: True)
    assert [look.signs for look in looked] == [None, None]
    assert sum(look.evaluations for look in looked) == count.n_latents == 2 * 4 * 3
    looked = verifier.look(conditioning, KEYS)
    assert all(look.evaluations in (12, verifier.most_evaluations) for look in looked)


def test_signs_do_not_depend_on_their_batch(verifier, conditioning):
    images = [np.stack([image(i)] * 2) for i in range(2)]
    together = verifier.look_at(conditioning, KEYS, images)
    for i, looked in enumerate(together):
        (alone,) = verifier.look_at(conditioning.rows([i]), [KEYS[i]], [images[i]])
        for name in ("survival", "denoising_error", "autoencoding_error"):
            assert getattr(alone.signs, name) == pytest.approx(getattr(looked.signs, name), abs=0.01)
    assert together[0].signs.autoencoding_error != together[1].signs.autoencoding_error
