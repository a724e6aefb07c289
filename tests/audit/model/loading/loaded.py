"""Load model folders, or get the line with which they are refused; compare weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.loading.pipelines import LoadedModel, load_model
from tests.audit.model.loading.folders import WEIGHTS
from tests.refusals import refused_line

NETWORKS = ("unet", "vae", "text_encoder")


def load(folder: Path | str, *, allow_pickle: bool = False, device: str = "cpu") -> LoadedModel:
    return load_model(str(folder), device=device, dtype=torch.float32, allow_pickle=allow_pickle)


refusal = partial(refused_line, ModelError, load)


def edit_weights(path: Path, change: Callable[[dict], dict]) -> None:
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def assert_same_weights(pipe, original, dtype=torch.float32) -> None:
    for name in NETWORKS:
        held = getattr(pipe, name).state_dict()
        wanted = getattr(original, name).state_dict()
        assert held.keys() == wanted.keys()
        for key, tensor in held.items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, wanted[key].to(dtype).float()), f"{name}.{key}"


def make_pickles(folder: Path) -> None:
    for name, file in WEIGHTS.items():
        path = folder / name / file
        stem = "pytorch_model" if name == "text_encoder" else path.stem
        torch.save(load_file(path), path.with_name(f"{stem}.bin"))
        path.unlink()
