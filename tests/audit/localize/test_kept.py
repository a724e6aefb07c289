"""What was localized comes back as it was, for the same settings and model, whole or not at all."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from audit.denoiser import Denoiser
from audit.localize.kept import load_localized, save_localized
from audit.localize.localizer import Localized
from hooks import NeuronSet
from tests.audit.localize.memories import NO_EVIDENCE, PLAN, localizer_of, memory_of

IDENTITY = "0123456789abcdef"


@pytest.fixture(scope="module")
def localized(toy_pipe) -> Localized:
    return localizer_of(Denoiser(toy_pipe), replace(PLAN, by="mean")).localize(memory_of(NO_EVIDENCE))


def assert_equal(one: object, other: object) -> None:
    """Equal to the bit, field by field."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif hasattr(one, "__dataclass_fields__"):
        for field in fields(one):
            assert_equal(getattr(one, field.name), getattr(other, field.name))
    else:
        assert one == other


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_patched": None, "n_recovered_again": None, "controls": ()},
        {"neurons": NeuronSet({"unet.a": (1, 5)}, None, None)},
        {"neurons": NeuronSet({}, None, "abc")},
    ],
)
def test_what_was_localized_comes_back(localized, tmp_path, changes):
    path, one = tmp_path / "kept" / "a.safetensors", replace(localized, **changes)
    save_localized(path, one, IDENTITY)
    assert_equal(load_localized(path, one.memory, IDENTITY), one)
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_other_settings_find_nothing_and_replace_it(localized, tmp_path):
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
def test_a_damaged_file_is_as_good_as_none(localized, tmp_path: Path, damage):
    path = tmp_path / "a.safetensors"
    save_localized(path, localized, IDENTITY)
    path.write_bytes(damage(path.read_bytes()))
    assert load_localized(path, localized.memory, IDENTITY) is None


def test_a_folder_in_its_place_is_as_good_as_none(localized, tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    assert load_localized(tmp_path / "a.safetensors", localized.memory, IDENTITY) is None
