"""A stored localization is loaded unchanged for the same settings and model, complete or not at all."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flashbulb.audit.localize.localizer import LocalizedMemory
from flashbulb.audit.localize.store import load_localized, save_localized
from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import NeuronSet
from tests.audit.localize.memory_examples import NO_EVIDENCE, PLAN, build_localizer, memory_of

IDENTITY = "0123456789abcdef"


@pytest.fixture(scope="module")
def localized(toy_pipe) -> LocalizedMemory:
    return build_localizer(open_denoiser(toy_pipe), replace(PLAN, by="mean")).localize(memory_of(NO_EVIDENCE))


def assert_equal(value: object, expected: object) -> None:
    """Bit-identical, field by field."""
    assert type(value) is type(expected)
    if isinstance(value, torch.Tensor):
        assert value.dtype == expected.dtype
        assert torch.equal(value, expected)
    elif isinstance(value, np.ndarray):
        assert value.dtype == expected.dtype
        assert np.array_equal(value, expected)
    elif isinstance(value, dict):
        assert value.keys() == expected.keys()
        for key in value:
            assert_equal(value[key], expected[key])
    elif hasattr(value, "__dataclass_fields__"):
        for field in fields(value):
            assert_equal(getattr(value, field.name), getattr(expected, field.name))
    else:
        assert value == expected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_patched": None, "n_recovered_again": None, "controls": ()},
        {"neurons": NeuronSet({"unet.a": (1, 5)}, None, None)},
        {"neurons": NeuronSet({}, None, "abc")},
    ],
)
def test_a_localized_memory_survives_saving_and_loading(localized, tmp_path, changes):
    path, changed = tmp_path / "kept" / "a.safetensors", replace(localized, **changes)
    save_localized(path, changed, IDENTITY)
    assert_equal(load_localized(path, changed.memory, IDENTITY), changed)
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_other_settings_load_nothing_and_overwrite(localized, tmp_path):
    path = tmp_path / "a.safetensors"
    assert load_localized(path, localized.memory, IDENTITY) is None
    save_localized(path, localized, IDENTITY)
    assert load_localized(path, localized.memory, "another") is None
    save_localized(path, localized, "another")
    assert load_localized(path, localized.memory, IDENTITY) is None
    assert load_localized(path, localized.memory, "another") is not None


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def without_its_last_byte(content: bytes) -> bytes:
    return content[:-1]


def with_a_torn_header(content: bytes) -> bytes:
    return content[:40] + b"\xff" * 40 + content[80:]


def empty(_content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [truncated, without_its_last_byte, with_a_torn_header, empty])
def test_a_damaged_file_counts_as_missing(localized, tmp_path: Path, damage):
    path = tmp_path / "a.safetensors"
    save_localized(path, localized, IDENTITY)
    path.write_bytes(damage(path.read_bytes()))
    assert load_localized(path, localized.memory, IDENTITY) is None


def test_a_folder_in_its_place_counts_as_missing(localized, tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    assert load_localized(tmp_path / "a.safetensors", localized.memory, IDENTITY) is None
