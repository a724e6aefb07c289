"""Predictions of a fine-tune are moved away from its base, and both models are left as they were."""

import pytest
import torch

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from tests.audit.files.loras import assert_same, load, lora_file, lora_weights, some_factors
from tests.toy import build_toy_pipe, build_toy_xl_pipe


@pytest.mark.parametrize("build", [build_toy_pipe, build_toy_xl_pipe])
def test_a_prediction_is_moved_by_its_weighted_difference_from_the_base(build) -> None:
    own, base = open_denoiser(build()), open_denoiser(build(seed=1))
    latents = own.initial_latents(0, [0, 1])
    conditioning = own.encode(["a red star", "the sea"]).conditioning

    def predict(denoiser: Denoiser) -> torch.Tensor:
        return denoiser.predict(latents, 501, conditioning).native

    with torch.no_grad():
        plain, base_prediction = predict(own), predict(base)
        with base.called() as call_base, own.extrapolated(call_base, 0.5):
            moved = predict(own)
        torch.testing.assert_close(moved, plain + 0.5 * (plain - base_prediction))
        assert torch.equal(predict(own), plain)
        own_again = open_denoiser(build())
        with own_again.called() as call_base, own.extrapolated(call_base, 2.0):
            assert torch.equal(predict(own), plain)
    assert own_again.evaluations == len(latents)


def test_a_model_with_a_lora_is_moved_from_itself_without_it_and_is_whole_after_an_error(tmp_path) -> None:
    build_toy_pipe().save_pretrained(tmp_path / "base")
    base, plain = (load(tmp_path / "base").pipe for _ in range(2))
    lora = lora_file(tmp_path / "x.safetensors", lora_weights(some_factors(base, ("unet", "text_encoder"))))
    loaded, apart = load(tmp_path / "base", lora), load(tmp_path / "base", lora)
    own, other = open_denoiser(apart.pipe), open_denoiser(plain)

    def predict(denoiser: Denoiser) -> torch.Tensor:
        latents = denoiser.initial_latents(0, [0, 1])
        return denoiser.predict(latents, 501, denoiser.encode(["a red star", "the sea"]).conditioning).native

    inside = open_denoiser(loaded.pipe)
    with torch.no_grad(), other.called() as call_base, own.extrapolated(call_base, 0.5):
        wanted = predict(own)
    with torch.no_grad(), loaded.loras.switched() as without:

        def call(*inputs, **keywords):
            with without():
                return loaded.pipe.unet(*inputs, **keywords)

        with inside.extrapolated(call, 0.5):
            assert torch.equal(predict(inside), wanted)
            assert not torch.equal(wanted, predict(other))
        with without():
            assert_same(loaded.pipe, plain)
        with pytest.raises(KeyError), without():
            raise KeyError
    assert_same(loaded.pipe, apart.pipe)
    assert not loaded.pipe.unet._forward_hooks


def test_a_model_is_left_as_it_was_after_an_error() -> None:
    own, base = open_denoiser(build_toy_pipe()), open_denoiser(build_toy_pipe(seed=1))
    with pytest.raises(KeyError), base.called() as call_base, own.extrapolated(call_base, 1.0):
        raise KeyError
    assert not own.pipe.unet._forward_hooks
    assert not base.pipe.unet._forward_hooks
