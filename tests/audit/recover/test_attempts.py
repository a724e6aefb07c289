"""An attempt comes back as it was kept, and only to the run that kept it."""

import os
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.attempts import Attempt, AttemptStore
from flashbulb.audit.recover.signs import Signs

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
CONDITIONING = Conditioning(
    {
        name: torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
        for name, shape in {"prompt_embeds": (32, 8), "pooled_prompt_embeds": (8,)}.items()
    }
)
SIGNS = Signs(*(0.1 * i for i in range(len(fields(Signs)))))
RUNG = Attempt("ascend", 1, 4321, IMAGES[::-1], SIGNS, CONDITIONING.rows([2]), 0.25, 0.97)

STRATEGIES = ("sample", "ascend", "cyclic", "known_image")


@pytest.fixture
def store(tmp_path) -> AttemptStore:
    return AttemptStore(tmp_path, dict.fromkeys(STRATEGIES, "this run"), keep_images=True)


@pytest.mark.parametrize("attempt", [RUNG, replace(RUNG, signs=None, kinship=None)])
def test_an_attempt_comes_back_as_it_was(store, attempt, tmp_path):
    store.save({"prompt": attempt})
    found = store.load("prompt", "ascend", 1)
    for field in fields(Attempt):
        kept, given = getattr(found, field.name), getattr(attempt, field.name)
        if isinstance(given, np.ndarray):
            np.testing.assert_array_equal(kept, given)
            assert kept.dtype == np.uint8
        elif isinstance(given, Conditioning):
            assert kept.tensors.keys() == given.tensors.keys()
            assert all(torch.equal(kept.tensors[name], tensor) for name, tensor in given.tensors.items())
        else:
            assert kept == given
    assert [path.name for path in (tmp_path / "prompt").iterdir()] == ["ascend-1.safetensors"]
    assert (tmp_path / "prompt" / "ascend-1.safetensors").stat().st_size < 20_000  # its own row and no other


def test_another_prompt_strategy_restart_or_run_has_none(store, tmp_path):
    store.save({"prompt": RUNG})
    assert store.load("other", "ascend", 1) is None
    assert store.load("prompt", "cyclic", 1) is None
    assert store.load("prompt", "ascend", 0) is None
    assert (
        AttemptStore(tmp_path, dict.fromkeys(STRATEGIES, "another run"), keep_images=True).load("prompt", "ascend", 1)
        is None
    )
    assert store.load("prompt", "ascend", 1) is not None


def test_torn_file_counts_as_missing_wherever_it_is_torn(store, tmp_path):
    store.save({"prompt": RUNG})
    path = tmp_path / "prompt" / "ascend-1.safetensors"
    whole = path.read_bytes()
    for keep in [*range(0, 900, 7), *range(900, len(whole), 501), len(whole) - 1]:
        path.write_bytes(whole[:keep])
        assert store.load("prompt", "ascend", 1) is None, keep
    store.save({"prompt": RUNG})
    assert path.read_bytes() == whole


def test_strangers_file_counts_as_missing(store, tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "prompt").mkdir()
    save_file({"pictures": torch.zeros(1)}, tmp_path / "prompt" / "ascend-1.safetensors")
    assert store.load("prompt", "ascend", 1) is None


def test_an_attempt_appears_whole_or_not_at_all(store, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        store.save({"prompt": RUNG})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_images_nothing_is_written(tmp_path):
    store = AttemptStore(
        tmp_path / "recovery",
        dict.fromkeys(STRATEGIES, "this run"),
        keep_images=False,
    )
    store.save({"prompt": RUNG})
    assert store.load("prompt", "ascend", 1) is None
    assert not (tmp_path / "recovery").exists()
