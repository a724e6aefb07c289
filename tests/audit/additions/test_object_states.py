"""A pipeline object in an unusual state is audited as what it computes, or refused in one line."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from flashbulb.audit.additions.lent import lent
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.record.prompt_sites import PromptSites
from tests.audit.commands import ODD
from tests.toy import MAX_POSITIONS, build_toy_pipe
from tests.toy_transformers import build_toy_flux_pipe, build_toy_sd3_pipe


class OtherSiLU(nn.SiLU):
    """A layer that computes another thing than its name in diffusers says."""


def rows_of(pipe: Any) -> dict[str, torch.Tensor]:
    """Activations of the text side, which hooks read."""
    with lent(pipe) as loaded:
        denoiser = open_denoiser(loaded.pipe)
        return PromptSites(denoiser, denoiser.sites(["text_mlp"])).read([ODD])[0]


def test_a_text_encoder_that_is_compiled_in_place_is_read_as_it_is_written() -> None:
    pipe, expected = build_toy_pipe(), rows_of(build_toy_pipe())
    pipe.text_encoder.compile(backend="eager")
    compiled = pipe.text_encoder._compiled_call_impl
    assert all(torch.equal(values, expected[name]) for name, values in rows_of(pipe).items())
    assert pipe.text_encoder._compiled_call_impl is compiled


def compile_a_part(pipe: Any) -> None:
    pipe.unet.mid_block = torch.compile(pipe.unet.mid_block, backend="eager")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (compile_a_part, "unet.mid_block is compiled; give it back"),
        (lambda pipe: pipe.unet.conv_out.half(), "unet is float32, and float16 at conv_out.weight"),
        (
            lambda pipe: pipe.text_encoder.final_layer_norm.double(),
            "text_encoder is float32, and float64 at final_layer",
        ),
        (
            lambda pipe: pipe.vae.bfloat16(),
            r"vae is bfloat16, its unet float32; convert it with pipe.to\(torch.float32\)",
        ),
        (lambda pipe: pipe.to(torch.float64), "the pipeline is float64, which no audit runs in"),
        (lambda pipe: setattr(pipe.vae, "decode", pipe.vae.encode), "a decode of its own on vae"),
        (lambda pipe: setattr(pipe, "encode_prompt", print), "an encode_prompt of its own"),
        (lambda pipe: pipe.tokenizer.add_tokens(["star"]), "tokenizer has 1 tokens .* no vector for, first 'star'"),
        (
            lambda pipe: setattr(pipe, "vae", None),
            "the pipeline has no vae; Stable Diffusion 1/2 is audited with all of",
        ),
        (
            lambda pipe: setattr(pipe.scheduler, "final_alpha_cumprod", torch.tensor(0.5)),
            "final_alpha_cumprod of the pipeline's scheduler is not what its config states",
        ),
        (lambda pipe: setattr(pipe.tokenizer, "padding_side", "left"), "tokenizer pads prompts on the left; set its"),
        (
            lambda pipe: setattr(pipe.tokenizer, "model_max_length", 10**30),
            f"text_encoder reads {MAX_POSITIONS}; set pipe.tokenizer.model_max_length = {MAX_POSITIONS}",
        ),
    ],
)
def test_a_state_in_which_networks_cannot_run_is_refused(change: Callable[[Any], object], expected: str) -> None:
    pipe = build_toy_pipe()
    change(pipe)
    with pytest.raises(ModelError, match=expected), lent(pipe):
        pass


def test_weights_that_their_class_keeps_in_float32_are_no_second_dtype() -> None:
    pipe = build_toy_flux_pipe().to(torch.bfloat16)
    for name, module in pipe.text_encoder_2.named_modules():
        if name.endswith(".wo"):
            module.float()
    with lent(pipe) as loaded:
        assert loaded.dtype == "bfloat16"


def test_fingerprints_tell_layers_and_processors_of_other_libraries_apart() -> None:
    def fingerprint(change: Callable[[Any], object]) -> str:
        pipe = build_toy_pipe()
        change(pipe)
        with lent(pipe) as loaded:
            return loaded.fingerprint

    def set_scale(pipe: Any, scale: float) -> None:
        processor = next(iter(pipe.unet.attn_processors.values()))
        processor.__class__ = type("Scaled", (type(processor),), {"__module__": "elsewhere"})
        processor.scale = scale

    changes: tuple[Callable[[Any], object], ...] = (
        lambda pipe: None,
        lambda pipe: setattr(pipe.unet, "conv_act", OtherSiLU()),
        lambda pipe: set_scale(pipe, 0.5),
        lambda pipe: set_scale(pipe, 1.0),
    )
    assert len({*map(fingerprint, changes)}) == len(changes)


def test_a_shift_that_no_config_states_is_refused() -> None:
    pipe = build_toy_sd3_pipe()
    pipe.scheduler.set_timesteps(3)
    with lent(pipe):
        pass
    pipe.scheduler.set_shift(5.0)
    with pytest.raises(ModelError, match="shift of the pipeline's scheduler is not what its config states"), lent(pipe):
        pass


def test_weights_that_pass_no_gradient_are_refused() -> None:
    with torch.inference_mode():
        pipe = build_toy_pipe()
    with pytest.raises(ModelError, match=r"loaded in torch.inference_mode, .* load it outside"), lent(pipe):
        pass
