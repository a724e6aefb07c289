"""Weights that were never trained, numbers that are not finite and prompts that are not read are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from flashbulb.audit.model.errors import UntrustedModel
from flashbulb.audit.model.examination import require_working
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.hooks import NonFiniteActivation
from tests.audit.model.changes import FOLDERS, problem_of, with_config, with_parts
from tests.cases import slow_unless_in
from tests.toy import build_toy_pipe
from tests.toy_transformers import build_toy_sd3_pipe
from tests.toy_variants import build_bert_pipe


@contextmanager
def with_weights(part: Any, change) -> Iterator[None]:
    own = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        change(part)
    try:
        yield
    finally:
        part.load_state_dict(own)


def make_random(part: Any) -> None:
    for module in part.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


@pytest.mark.parametrize("name", slow_unless_in(["gazette"], ["embedded", "catalogue", "gazette", "folio"]))
def test_random_weights_are_told(planted, name):
    with with_weights(planted[name].unet, make_random):
        assert problem_of(planted[name]) is not None
    with with_weights(planted[name].vae, make_random):
        assert problem_of(planted[name]) is not None


@pytest.mark.parametrize("build", [build_toy_pipe, build_toy_sd3_pipe])
def test_toy_models_with_random_weights_are_refused(build):
    with pytest.raises(UntrustedModel, match="does not run as it was trained"):
        require_working(open_denoiser(build()))


def test_decoder_that_is_not_finite_is_refused(planted):
    def spoil(vae: Any) -> None:
        vae.decoder.conv_out.weight.mul_(float("nan"))

    with with_weights(planted["gazette"].vae, spoil), pytest.raises(NonFiniteActivation, match="not finite"):
        problem_of(planted["gazette"])


def test_no_scale_at_all_is_refused(planted):
    with with_config(planted["gazette"].vae, scaling_factor=0.0), pytest.raises(NonFiniteActivation):
        problem_of(planted["gazette"])


def test_beta_that_is_not_finite_is_told(planted):
    broken = DDIMScheduler.from_config(planted["gazette"].scheduler.config)
    broken.alphas_cumprod = broken.alphas_cumprod * np.nan
    with with_parts(planted["gazette"], scheduler=broken) as pipe, pytest.raises((NonFiniteActivation, UntrustedModel)):
        require_working(open_denoiser(pipe))


def test_size_that_diffusers_replaced_is_refused(tmp_path):
    shutil.copytree(FOLDERS["embedded"], tmp_path / "model")
    path = tmp_path / "model" / "unet" / "config.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**saved, "_diffusers_version": "0.6.0"}), encoding="utf-8")
    with pytest.raises(UntrustedModel, match=f"says sample_size {saved['sample_size']}, and diffusers made it 64"):
        load_model(str(tmp_path / "model"), device="cpu", dtype=torch.float32, allow_pickle=False)


def test_prompts_that_the_tokenizer_does_not_know_are_refused(tmp_path):
    denoiser = open_denoiser(build_bert_pipe(tmp_path))
    assert denoiser.text.unknown_share(["a red star", "x"]) == denoiser.text.unknown_share([]) == 0
    assert denoiser.text.unknown_share(["жар птица", "☃ ☃ a"]) == 0.8
    with pytest.raises(UntrustedModel, match="80% of the tokens of the prompts are unknown to its tokenizer"):
        require_working(denoiser, ["жар птица", "☃ ☃ a"])
    with pytest.raises(UntrustedModel, match="80% of the tokens of the reference prompts are unknown to its tokenizer"):
        require_working(denoiser, ["a red star"], reference=["жар птица", "☃ ☃ a"])


@pytest.mark.parametrize(("name", "encoder"), [("gazette", "text_encoder"), ("folio", "text_encoder_2")])
def test_a_text_encoder_that_was_never_trained_is_refused(planted, name, encoder):
    pipe = planted[name]
    untrained = type(getattr(pipe, encoder))(getattr(pipe, encoder).config)
    with with_parts(pipe, **{encoder: untrained}):
        with pytest.raises(UntrustedModel, match=f"its {encoder} was never trained"):
            require_working(open_denoiser(pipe))
        with torch.no_grad():
            next(bias for name, bias in untrained.named_parameters() if name.endswith("norm.bias"))[0] = 1e-3
        require_working(open_denoiser(pipe))  # it is of another model, which no test tells
