"""A model that does not run as it was trained is told from one that does, and the reading that would fit is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from flashbulb.audit.model.errors import UntrustedModel
from flashbulb.audit.model.examination import examine, require_working
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.paths import IMAGES
from flashbulb.audit.training_images.reader import first_images
from flashbulb.hooks import NonFiniteActivation
from tests.bench.models import MODELS
from tests.cases import slow_unless_in
from tests.toy import build_toy_pipe
from tests.toy_transformers import build_toy_sd3_pipe
from tests.toy_variants import build_bert_pipe

FOLDERS = {name: folder / "model" for name, folder in MODELS.items()}
READINGS = ("epsilon", "v_prediction", "sample")


@pytest.fixture(scope="module")
def planted() -> dict[str, Any]:
    return {
        name: load_model(str(folder), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
        for name, folder in FOLDERS.items()
    }


@contextmanager
def with_parts(pipe: Any, **parts: Any) -> Iterator[Any]:
    own = {name: getattr(pipe, name) for name in parts}
    pipe.register_modules(**parts)
    try:
        yield pipe
    finally:
        pipe.register_modules(**own)


@contextmanager
def with_config(part: Any, **changes: Any) -> Iterator[None]:
    own = {name: part.config[name] for name in changes}
    part.register_to_config(**changes)
    try:
        yield
    finally:
        part.register_to_config(**own)


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


def problem_of(pipe: Any) -> str | None:
    return examine(open_denoiser(pipe)).problem


@pytest.mark.parametrize("name", FOLDERS)
def test_planted_models_run_as_they_were_trained(planted, name):
    denoiser = open_denoiser(planted[name])
    examination = examine(denoiser)
    assert examination.problem is None
    assert denoiser.evaluations == examination.evaluations == 32


def test_a_model_that_runs_as_it_was_trained_is_accepted(planted):
    require_working(open_denoiser(planted["gazette"]))


@pytest.mark.parametrize(
    ("name", "which"),
    slow_unless_in(
        [("embedded", 0), ("catalogue", 1), ("gazette", 1)], [(name, which) for name in FOLDERS for which in (0, 1)]
    ),
)
def test_wrong_prediction_type_is_named_with_the_right_one(planted, name, which):
    scheduler = planted[name].scheduler
    right = scheduler.config.prediction_type
    reading = [reading for reading in READINGS if reading != right][which]
    with with_config(scheduler, prediction_type=reading):
        problem = problem_of(planted[name])
    assert f"its scheduler declares {reading}, and it looks like {right}" in problem


@pytest.mark.parametrize("name", slow_unless_in(["faint"], ["catalogue", "faint"]))
@pytest.mark.parametrize("reading", ["v_prediction", "sample"])
def test_schedules_without_signal_are_read_as_well(planted, name, reading):
    changes = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": reading}
    scheduler = DDIMScheduler.from_config(planted[name].scheduler.config, **changes)
    with with_parts(planted[name], scheduler=scheduler) as pipe:
        assert (problem_of(pipe) is None) == (reading == "v_prediction")


@pytest.mark.parametrize(
    ("name", "scheduler"),
    slow_unless_in(
        [("gazette", "PNDM"), ("gazette", "EulerDiscrete"), ("catalogue", "DPMSolverMultistep")],
        [
            *(("gazette", name) for name in ("PNDM", "EulerDiscrete", "UniPCMultistep", "LMSDiscrete")),
            *(("catalogue", name) for name in ("DPMSolverMultistep", "HeunDiscrete", "DDPM", "EulerDiscrete")),
        ],
    ),
)
def test_other_schedulers_change_nothing(planted, name, scheduler):
    built = getattr(diffusers, f"{scheduler}Scheduler").from_config(planted[name].scheduler.config)
    with with_parts(planted[name], scheduler=built) as pipe:
        assert problem_of(pipe) is None


@pytest.mark.parametrize(
    ("name", "factor"),
    slow_unless_in(
        [("embedded", 2), ("catalogue", 2), ("catalogue", 0.04)],
        [
            *(("embedded", factor) for factor in (25, 2, 0.25)),
            *(("catalogue", factor) for factor in (4, 2, 0.04)),
        ],
    ),
)
def test_wrong_scale_of_latents_is_told(planted, name, factor):
    vae = planted[name].vae
    with with_config(vae, scaling_factor=vae.config.scaling_factor * factor):
        assert "standard deviation" in problem_of(planted[name])


def training_images(name: str, pipe: Any) -> Any:
    source = IMAGES if name == "embedded" else MODELS[name] / "pictures"
    return first_images(source, 4, *open_denoiser(pipe).image_size)


@pytest.mark.parametrize("name", slow_unless_in(["faint"], FOLDERS))
@pytest.mark.parametrize("factor", [1, 0.5])
def test_with_training_images_latents_half_as_large_are_told_as_well(planted, name, factor):
    vae = planted[name].vae
    images = training_images(name, planted[name])
    assert images.shape[0] == 4
    with with_config(vae, scaling_factor=vae.config.scaling_factor * factor):
        problem = examine(open_denoiser(planted[name]), images).problem
    if factor == 1:
        assert problem is None
    else:
        assert "on the training images" in problem
        assert "scaled otherwise than in training" in problem


@pytest.mark.parametrize(
    ("name", "reading"),
    slow_unless_in(
        [("gazette", "epsilon"), ("gazette", "sample"), ("faint", "epsilon")],
        [(name, reading) for name in ("gazette", "faint") for reading in READINGS],
    ),
)
def test_with_training_images_the_right_reading_is_named_as_well(planted, name, reading):
    scheduler = planted[name].scheduler
    right = scheduler.config.prediction_type
    with with_config(scheduler, prediction_type=reading):
        problem = examine(open_denoiser(planted[name]), training_images(name, planted[name])).problem
    assert (problem is None) == (reading == right)
    assert reading == right or f"and it looks like {right}" in problem


@pytest.mark.parametrize(
    ("name", "other"),
    slow_unless_in([("faint", "catalogue")], [("faint", "catalogue"), ("catalogue", "gazette"), ("gazette", "faint")]),
)
def test_autoencoder_of_another_model_is_told(planted, name, other):
    with with_parts(planted[name], vae=planted[other].vae) as pipe:
        assert "its samples are no images of its autoencoder" in problem_of(pipe)


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
