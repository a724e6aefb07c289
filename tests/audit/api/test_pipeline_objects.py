"""An object that does more than its weights say is refused; what changes its images changes its fingerprint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from tokenizers.normalizers import Replace

from flashbulb.audit.additions.lent import lent
from flashbulb.audit.model.errors import ModelError
from tests.audit.commands import ODD
from tests.toy import build_toy_pipe, build_toy_xl_pipe
from tests.toy_transformers import build_toy_sd3_pipe
from tests.toy_variants import build_zero_snr_pipe


class Adapter(torch.nn.Module):
    """What PEFT puts in the place of a layer."""

    def __init__(self, base_layer: torch.nn.Linear) -> None:
        super().__init__()
        self.base_layer, self.merged = base_layer, False


class OtherProcessor(AttnProcessor2_0):
    """An attention processor that is not of diffusers."""


def test_an_offloaded_object_is_refused(tmp_path: Path) -> None:
    pipe = build_toy_pipe()
    pipe.unet._hf_hook = object()
    with pytest.raises(ModelError, match="offload"), lent(pipe):
        pass


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (
            lambda unet: unet.mid_block.register_forward_hook(lambda _module, _inputs, output: output),
            "a hook on unet.mid",
        ),
        (lambda unet: unet.register_forward_pre_hook(lambda _module, inputs: inputs), "a hook on unet,"),
        (lambda unet: setattr(unet, "forward", lambda *_args: None), "a forward of its own on unet,"),
    ],
)
def test_an_object_is_refused_whose_networks_do_more_than_their_weights_say(
    change: Callable[[Any], object], refused: str
) -> None:
    """Its finished audit without the hook would be taken for that with it."""
    pipe = build_toy_pipe()
    change(pipe.unet)
    with pytest.raises(ModelError, match=refused), lent(pipe):
        pass


@pytest.mark.parametrize("component", ["unet", "text_encoder"])
def test_an_adapter_that_is_not_fused_is_refused(component: str) -> None:
    """Which adapters are active, and at what scale, enters no fingerprint: one audit was taken for that of another."""
    pipe = build_toy_pipe()
    path, layer = next(
        (path, layer)
        for path, layer in pipe.components[component].named_modules()
        if isinstance(layer, torch.nn.Linear)
    )
    pipe.components[component].set_submodule(path, adapter := Adapter(layer))
    with pytest.raises(ModelError, match=f"an adapter on {component}.{path} that is not fused"), lent(pipe):
        pass
    adapter.merged = True
    with lent(pipe):
        pass
    adapter.disable_adapters = True  # PEFT takes it out of the weights when the layer is called next
    with pytest.raises(ModelError, match=f"an adapter on {component}.{path} that is disabled; remove it"), lent(pipe):
        pass


@pytest.mark.parametrize("build", [build_toy_pipe, build_toy_xl_pipe, build_toy_sd3_pipe])
def test_an_object_that_has_sampled_is_taken_for_a_new_one(build: Callable[[], Any]) -> None:
    """transformers leaves hooks in a text encoder whose layers were read; they change nothing."""
    pipe = build()
    with lent(pipe) as first:
        pipe(ODD, num_inference_steps=2)
    with lent(pipe) as again:
        assert again.fingerprint == first.fingerprint


def test_a_forward_that_was_given_back_is_no_change() -> None:
    pipe = build_toy_pipe()
    pipe.unet.forward = type(pipe.unet).forward.__get__(pipe.unet)  # as accelerate leaves it
    with lent(pipe):
        pass


def test_a_compiled_object_is_refused_with_the_way_back() -> None:
    pipe = build_toy_pipe()
    pipe.unet = torch.compile(pipe.unet)
    with pytest.raises(ModelError, match=r"compiled; .* pipe.unet = pipe.unet._orig_mod"), lent(pipe):
        pass


def test_an_object_of_two_dtypes_is_refused() -> None:
    pipe = build_toy_pipe()
    pipe.text_encoder.half()
    with (
        pytest.raises(ModelError, match=r"text_encoder is float16, its unet float32; .*dtype=torch.float32"),
        lent(pipe),
    ):
        pass


def test_fingerprints_tell_weights_apart() -> None:
    pipe = build_toy_pipe()
    with lent(pipe) as first, lent(build_toy_pipe()) as same:
        assert first.fingerprint == same.fingerprint
    with torch.no_grad():
        next(pipe.unet.parameters()).add_(1e-3)
    with lent(pipe) as changed:
        assert changed.fingerprint != first.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda pipe: pipe.register_to_config(force_zeros_for_empty_prompt=False),
        lambda pipe: pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4),
        lambda pipe: pipe.unet.set_attn_processor(OtherProcessor()),
        lambda pipe: pipe.vae.enable_tiling(),
        lambda pipe: setattr(pipe.tokenizer, "model_max_length", 9),
        lambda pipe: setattr(pipe.tokenizer_2, "pad_token", "a"),
        lambda pipe: setattr(pipe.tokenizer.backend_tokenizer, "normalizer", Replace("a", "b")),
    ],
)
def test_fingerprints_tell_what_is_set_on_an_object_apart(change: Callable[[Any], object]) -> None:
    """Else the finished audit of the former object would be taken for that of the changed one."""
    pipe = build_toy_xl_pipe()
    with lent(pipe) as first:
        pass
    change(pipe)
    with lent(pipe) as changed:
        assert changed.fingerprint != first.fingerprint


def test_noise_levels_that_no_config_states_are_refused() -> None:
    """Else the object would be audited with other noise levels than it samples with."""
    pipe, zero_snr = build_toy_pipe(), build_zero_snr_pipe()
    pipe.scheduler.alphas_cumprod = zero_snr.scheduler.alphas_cumprod
    with pytest.raises(ModelError, match=r"alphas_cumprod of .* rescale_betas_zero_snr"), lent(pipe):
        pass
    with lent(zero_snr) as own:
        assert torch.equal(own.pipe.scheduler.alphas_cumprod, zero_snr.scheduler.alphas_cumprod)
