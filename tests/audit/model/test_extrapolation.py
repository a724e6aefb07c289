"""Predictions of a fine-tune are moved away from its base, and both models are left as they were."""

import pytest
import torch

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from tests.toy import build_toy_pipe, build_toy_xl_pipe


@pytest.mark.parametrize("build", [build_toy_pipe, build_toy_xl_pipe])
def test_a_prediction_is_moved_by_its_weighted_difference_from_the_base(build) -> None:
    own, base = open_denoiser(build()), open_denoiser(build(seed=1))
    latents = own.initial_latents(0, [0, 1])
    conditioning = own.encode(["a red star", "the sea"]).conditioning

    def predict(denoiser: Denoiser) -> torch.Tensor:
        return denoiser.predict(latents, 501, conditioning).native

    with torch.no_grad():
        plain, of_base = predict(own), predict(base)
        with own.extrapolated(base, 0.5):
            moved = predict(own)
        torch.testing.assert_close(moved, plain + 0.5 * (plain - of_base))
        assert torch.equal(predict(own), plain)
        with own.extrapolated(own_again := open_denoiser(build()), 2.0):
            assert torch.equal(predict(own), plain)
    assert own_again.evaluations == len(latents)


def test_a_model_is_left_as_it_was_after_an_error() -> None:
    own, base = open_denoiser(build_toy_pipe()), open_denoiser(build_toy_pipe(seed=1))
    with pytest.raises(KeyError), own.extrapolated(base, 1.0):
        raise KeyError
    assert not own.pipe.unet._forward_hooks
    assert not base.pipe.unet._forward_hooks
