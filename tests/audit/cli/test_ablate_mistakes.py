"""Every mistake in `flashbulb ablate` gives one error line and writes nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from flashbulb.hooks import NeuronSet, find_sites, save_neurons
from tests.audit.cli.ablations import NEURONS, ablated, neuron_file
from tests.audit.commands import error_line, run_json
from tests.audit.conftest import Inputs


def foreign(pipe: Any) -> NeuronSet:
    return NeuronSet(NEURONS.neurons, NEURONS.means, "0123456789abcdef")


def unknown_site(pipe: Any) -> NeuronSet:
    return NeuronSet({"unet.nowhere": (0,)})


def out_of_range(pipe: Any) -> NeuronSet:
    return NeuronSet({find_sites(pipe, ["feed_forward"])[0].name: (10_000,)})


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (foreign, "is for the model 0123456789abcdef, "),
        (unknown_site, "has no site unet.nowhere (1 of 1 are unknown); take the neurons"),
        (out_of_range, "128 neurons, there is no neuron 10000; take the neurons"),
    ],
)
def test_neurons_that_do_not_fit_the_model_are_refused(
    toy_pipe: Any, inputs: Inputs, tmp_path: Path, make: Callable[[Any], NeuronSet], line: str
) -> None:
    path = neuron_file(tmp_path / "neurons.json", make(toy_pipe))
    assert line in error_line(ablated(inputs.model, path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        (None, (), "neurons.json cannot be read: No such file or directory; give a file that hooks.save_neurons wrote"),
        ("{", (), "is not JSON"),
        ("[]", (), "is not a neuron set"),
        ('{"schema_version": 99}', (), "schema version 99, newer than 1"),
        ({"unet.x": (0,)}, ("--by", "mean"), "the neuron set has no means"),
        ({"unet.x": (0,)}, ("--guidance-scale", "1"), "--by unconditional needs the unconditional half"),
        ({"unet.x": (0,)}, ("--by", "magic"), "--by: 'magic' is not one of 'unconditional', 'mean', 'zero'"),
        ({"unet.x": (0,)}, ("--samples", "1"), "--samples: "),
        ({"unet.x": (0,)}, ("--guidance-scale", "0.5"), "--guidance-scale: "),
        ({"unet.x": (0,)}, ("--prompt", " "), "--prompt is blank"),
        ({"unet.x": (0,)}, ("--prompt", "\udcff"), "--prompt is not UTF-8"),
    ],
)
def test_mistake_is_one_line_before_the_model_is_loaded(
    tmp_path: Path, content: object, options: tuple[str, ...], line: str
) -> None:
    path = tmp_path / "neurons.json"
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, dict):
        save_neurons(path, NeuronSet(content))
    assert line in error_line(ablated(tmp_path / "no-model", path, tmp_path / "out", *options))
    assert not (tmp_path / "out").exists()


def test_more_layers_than_the_text_encoder_has_cannot_be_left_out(inputs: Inputs, tmp_path: Path) -> None:
    neurons = neuron_file(tmp_path / "neurons.json", NEURONS)
    answer = ablated(inputs.model, neurons, tmp_path / "out", "--clip-skip", "2")
    assert "--clip-skip 2 leaves none of the text encoder's 2 layers" in error_line(answer)
    assert not (tmp_path / "out").exists()


def test_unknown_model_is_one_line(tmp_path: Path) -> None:
    neurons = neuron_file(tmp_path / "neurons.json", NEURONS)
    assert "no model folder" in error_line(ablated(tmp_path / "nowhere", neurons, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_model_whose_images_overflow_is_not_trusted(inputs: Inputs, tmp_path: Path) -> None:
    neurons = neuron_file(tmp_path / "neurons.json", NEURONS)
    damaged = Path(shutil.copytree(inputs.model, tmp_path / "model"))
    (weights,) = (damaged / "unet").glob("*.safetensors")
    tensors = load_file(weights)
    tensors["conv_out.bias"].fill_(3e38)
    save_file(tensors, weights, metadata={"format": "pt"})
    assert "not finite" in error_line(ablated(damaged, neurons, tmp_path / "out"), code=3)
    assert run_json(tmp_path / "out")["status"] == "ablating"
