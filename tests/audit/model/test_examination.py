"""A model that does not run as it was trained is told from one that does, and the reading that would fit is named."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
from diffusers import DDIMScheduler

from flashbulb.audit.model.examination import examine, require_working
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.planted.paths import IMAGES
from flashbulb.audit.training_images.reader import first_images
from tests.audit.model.changes import FOLDERS, problem_of, with_config, with_parts
from tests.bench.models import MODELS
from tests.cases import slow_unless_in

READINGS = ("epsilon", "v_prediction", "sample")


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
