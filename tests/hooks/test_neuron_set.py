"""A neuron set counts its neurons, survives saving and loading, and must fit the model it is used on."""

import json
import os
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashbulb.hooks import (
    SITE_KINDS,
    NeuronSet,
    NewerSchema,
    UnknownArchitecture,
    find_sites,
    load_neurons,
    save_neurons,
    sites_of,
)
from tests.toy import build_toy_pipe, build_toy_xl_pipe

FF = "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.2"
NEURONS = {FF: (0, 7)}
CONTENT = {"schema_version": 1, "neurons": {FF: [0, 7]}, "means": {FF: [0.5, -1]}, "fingerprint": "abc"}


@st.composite
def neuron_sets(draw):
    numbers = st.lists(st.integers(0, 5000), unique=True, max_size=9).map(sorted).map(tuple)
    neurons = draw(st.dictionaries(st.text(max_size=9), numbers, max_size=4))
    finite = st.floats(allow_nan=False, allow_infinity=False)
    means = {name: tuple(draw(finite) for _ in numbers) for name, numbers in neurons.items()}
    return NeuronSet(neurons, draw(st.sampled_from([means, None])), draw(st.none() | st.text(max_size=9)))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(neuron_set=neuron_sets())
def test_any_set_survives_saving_and_loading(tmp_path, neuron_set):
    save_neurons(str(tmp_path / "neurons.json"), neuron_set)
    assert load_neurons(str(tmp_path / "neurons.json")) == neuron_set
    assert [path.name for path in tmp_path.iterdir()] == ["neurons.json"]


@pytest.mark.parametrize("made", [np.array, torch.tensor, list, lambda numbers: tuple(np.array(numbers))])
def test_a_set_of_the_numbers_of_other_libraries_equals_a_plain_one(tmp_path, made):
    neuron_set = NeuronSet({FF: made([0, 7])}, {FF: np.array([0.5, -1], dtype=np.float32)})
    assert neuron_set == NeuronSet(NEURONS, {FF: (0.5, -1.0)})
    save_neurons(tmp_path / "neurons.json", neuron_set)
    assert load_neurons(tmp_path / "neurons.json") == neuron_set
    with pytest.raises(TypeError, match="integer"):
        NeuronSet({FF: made([0.0, 7.0])})


def test_neurons_of_all_sites_are_counted():
    assert NeuronSet({}).n_neurons == 0
    assert NeuronSet({"a": (0, 5), "b": (), "c": (1,)}).n_neurons == 3


def test_a_set_is_immutable():
    with pytest.raises(FrozenInstanceError):
        NeuronSet(NEURONS).fingerprint = "x"


@pytest.mark.parametrize(
    ("neurons", "means", "message"),
    [
        ({"s": (1, 1)}, None, "s lists neuron 1 after 1; sort them"),
        ({"s": (3, 1)}, None, "s lists neuron 1 after 3; sort them"),
        ({"s": (-1, 1)}, None, "s has the negative neuron -1"),
        ({"s": (1,)}, {}, r"name different sites: \['s'\]"),
        ({"s": (1,)}, {"s": (1.0,), "t": ()}, r"name different sites: \['t'\]"),
        ({"s": (1,)}, {"s": (1.0, 2.0)}, "s has 1 neurons and 2 means"),
        ({"s": (1,)}, {"s": (float("nan"),)}, "s has a mean that is not finite"),
    ],
)
def test_invalid_sets_are_refused(neurons, means, message):
    with pytest.raises(ValueError, match=message):
        NeuronSet(neurons, means)


def test_a_handwritten_set_is_read(tmp_path):
    path = tmp_path / "neurons.json"
    path.write_text(json.dumps(CONTENT))
    assert load_neurons(path) == NeuronSet(NEURONS, {FF: (0.5, -1.0)}, "abc")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": "1"}, 'no integer "schema_version"'),
        ({"schema_version": True}, 'no integer "schema_version"'),
        ({"means": ...}, r"entries missing: \['means'\]"),
        ({"layers": 3}, r"entries unknown: \['layers'\]"),
        ({"fingerprint": 5}, '"fingerprint" must be a string or null, got 5'),
        ({"neurons": [0, 7]}, '"neurons" must map site names to lists of numbers, got list'),
        ({"neurons": {FF: 7}}, f'"neurons" of {FF} must be a list of int numbers'),
        ({"neurons": {FF: [0, 7.0]}}, "list of int numbers"),
        ({"neurons": {FF: [0, True]}}, "list of int numbers"),
        ({"neurons": {FF: [0, None]}}, "list of int numbers"),
        ({"neurons": {FF: [7, 7]}}, "lists neuron 7 after 7"),
        ({"neurons": {FF: [-7, 7]}}, "negative neuron -7"),
        ({"means": {FF: ["a", 1]}}, '"means" of .* must be a list of int or float numbers'),
        ({"means": {FF: [1]}}, "2 neurons and 1 means"),
        ({"means": {FF: [1, float("nan")]}}, "not finite"),
    ],
)
def test_malformed_files_are_refused_in_one_line(tmp_path, change, message):
    path = tmp_path / "neurons.json"
    path.write_text(json.dumps({name: value for name, value in {**CONTENT, **change}.items() if value is not ...}))
    with pytest.raises(ValueError, match=message) as refusal:
        load_neurons(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"null", b"\xff\xfe\xff"])
def test_files_without_a_json_object_are_refused_in_one_line(tmp_path, text):
    (tmp_path / "neurons.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"neurons\.json is n") as refusal:
        load_neurons(tmp_path / "neurons.json")
    assert "\n" not in str(refusal.value)


def test_newer_version_is_refused(tmp_path):
    path = tmp_path / "neurons.json"
    path.write_text(json.dumps({"schema_version": 2, "whatever": 1}))
    with pytest.raises(NewerSchema, match=r"neurons\.json has schema version 2, newer than 1; upgrade"):
        load_neurons(path)


def test_file_appears_complete_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "neurons.json"
    save_neurons(path, NeuronSet(NEURONS))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_neurons(path, NeuronSet({}))
    assert load_neurons(path) == NeuronSet(NEURONS)


@pytest.mark.parametrize("build", [build_toy_pipe, build_toy_xl_pipe])
def test_sites_are_found_in_the_models_order(build):
    pipe = build()
    sites = find_sites(pipe, SITE_KINDS)
    assert sites_of(pipe, NeuronSet({site.name: (0,) for site in reversed(sites)})) == sites
    assert sites_of(pipe, NeuronSet({sites[3].name: ()})) == sites[3:4]
    assert sites_of(pipe, NeuronSet({})) == ()


def test_sites_are_found_if_another_kind_has_none():
    pipe = build_toy_pipe()
    pipe.text_encoder = None
    assert [site.name for site in sites_of(pipe, NeuronSet(NEURONS))] == [FF]


def test_unknown_site_and_neuron_out_of_range_are_refused(toy_pipe):
    with pytest.raises(ValueError, match=r"has no site unet\.nowhere \(1 of 2 are unknown\)"):
        sites_of(toy_pipe, NeuronSet({**NEURONS, "unet.nowhere": (1,)}))
    assert sites_of(toy_pipe, NeuronSet({FF: (127,)}))
    with pytest.raises(ValueError, match=rf"{FF} has 128 neurons, there is no neuron 128"):
        sites_of(toy_pipe, NeuronSet({FF: (0, 128)}))


def test_pipeline_without_a_unet_is_refused():
    pipe = build_toy_pipe()
    pipe.unet = None
    with pytest.raises(UnknownArchitecture):
        sites_of(pipe, NeuronSet(NEURONS))
