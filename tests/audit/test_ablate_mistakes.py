"""A mistake in `engram ablate` is answered with one line, and nothing is written."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hooks import NeuronSet, find_sites, save_neurons
from tests.audit.ablations import LEVERS, ablated, neuron_file, refused
from tests.audit.commands import run_json
from tests.audit.conftest import Inputs


def foreign(pipe: Any) -> NeuronSet:
    return NeuronSet(LEVERS.neurons, LEVERS.means, "0123456789abcdef")


def unknown_site(pipe: Any) -> NeuronSet:
    return NeuronSet({"unet.nowhere": (0,)})


def out_of_range(pipe: Any) -> NeuronSet:
    return NeuronSet({find_sites(pipe, ["feed_forward"])[0].name: (10_000,)})


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (foreign, "is for the model 0123456789abcdef, "),
        (unknown_site, "has no site unet.nowhere (1 of 1 are unknown); take the neurons"),
        (out_of_range, "256 neurons, there is no neuron 10000; take the neurons"),
    ],
)
def test_neurons_of_another_model_are_refused(
    toy_pipe: Any, inputs: Inputs, tmp_path: Path, make: Callable[[Any], NeuronSet], line: str
) -> None:
    path = neuron_file(tmp_path / "levers.json", make(toy_pipe))
    assert line in refused(ablated(inputs.model, path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        (None, (), "levers.json cannot be read: No such file or directory; give a file as hooks.save_neurons writes"),
        ("{", (), "is not JSON"),
        ("[]", (), "is no neuron set"),
        ('{"schema_version": 99}', (), "schema version 99, newer than 1"),
        ({"unet.x": (0,)}, ("--by", "mean"), "the neuron set has no means"),
        ({"unet.x": (0,)}, ("--guidance-scale", "1"), "--by unconditional needs the unconditional half"),
        ({"unet.x": (0,)}, ("--by", "magic"), "--by: 'magic' is not one of 'unconditional', 'mean', 'zero'"),
        ({"unet.x": (0,)}, ("--engine", "steam"), "--engine: "),
        ({"unet.x": (0,)}, ("--samples", "1"), "--samples: "),
        ({"unet.x": (0,)}, ("--guidance-scale", "0.5"), "--guidance-scale: "),
        ({"unet.x": (0,)}, ("--prompt", " "), "--prompt is blank"),
        ({"unet.x": (0,)}, ("--prompt", "\udcff"), "--prompt is not UTF-8"),
    ],
)
def test_mistake_is_one_line_before_the_model_is_loaded(
    tmp_path: Path, content: object, options: tuple[str, ...], line: str
) -> None:
    path = tmp_path / "levers.json"
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, dict):
        save_neurons(path, NeuronSet(content))
    assert line in refused(ablated(tmp_path / "no-model", path, tmp_path / "out", *options))
    assert not (tmp_path / "out").exists()


def test_unknown_model_is_one_line(tmp_path: Path) -> None:
    neurons = neuron_file(tmp_path / "levers.json", LEVERS)
    assert "no model folder" in refused(ablated(tmp_path / "nowhere", neurons, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_model_that_is_not_a_number_is_distrusted(inputs: Inputs, tmp_path: Path) -> None:
    neurons = neuron_file(tmp_path / "levers.json", LEVERS)
    spoilt = Path(shutil.copytree(inputs.model, tmp_path / "model"))
    (weights,) = (spoilt / "unet").glob("*.safetensors")
    tensors = load_file(weights)
    tensors["conv_out.bias"].fill_(torch.nan)
    save_file(tensors, weights, metadata={"format": "pt"})
    assert "not finite" in refused(ablated(spoilt, neurons, tmp_path / "out"), code=3)
    assert run_json(tmp_path / "out")["status"] == "ablating"
