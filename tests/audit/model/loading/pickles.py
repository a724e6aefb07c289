"""Folders whose weights are pickles, where none should be or where none is read."""

import json
import os
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.audit.model.loading.folders import WEIGHTS, Change, ran, shard_, write

PICKLES = {
    "unet": "diffusion_pytorch_model.bin",
    "vae": "diffusion_pytorch_model.bin",
    "text_encoder": "pytorch_model.bin",
}


class Payload:
    """An object whose pickle, when it is read, leaves the file that tells that code ran."""

    def __init__(self, folder: Path) -> None:
        self.path = str(ran(folder))

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def pickled_shard(component: str, folder: Path) -> None:
    shard = shard_(component, folder, lambda name: name.replace(".safetensors", ".bin"))
    shard.with_suffix(".bin").write_bytes(pickle.dumps(Payload(folder)))


def pickle_named_as_safetensors(component: str, folder: Path) -> None:
    write(folder / component / WEIGHTS[component], pickle.dumps(Payload(folder)))


def pickled(component: str, folder: Path) -> None:
    """Keep weights as a pickle."""
    path = folder / component / WEIGHTS[component]
    torch.save(load_file(path), path.with_name(PICKLES[component]))
    path.unlink()


def pickle_with_code(component: str, folder: Path) -> None:
    pickled(component, folder)
    write(folder / component / PICKLES[component], pickle.dumps(Payload(folder)))


def pickles_of_an_index(name: str, component: str, folder: Path) -> None:
    """Keep weights as a pickle elsewhere that an index names."""
    path = folder / component / WEIGHTS[component]
    weight_map = dict.fromkeys(load_file(path), name)
    pickled(component, folder)
    made = path.with_name(PICKLES[component])
    write(path.with_name(f"{made.name}.index.json"), json.dumps({"metadata": {}, "weight_map": weight_map}))
    (path.parent / name).parent.mkdir(exist_ok=True)
    os.link(made, path.parent / name)


ALLOWED: dict[str, tuple[Change, str]] = {
    f"{component}: {name}": (partial(change, component), words)
    for component in ("unet", "text_encoder")
    for name, change, words in (
        ("pickle with code", pickle_with_code, "cannot be loaded"),
        ("pickle elsewhere", partial(pickles_of_an_index, "../far.bin"), "../far.bin"),
        ("pickle in a subfolder", partial(pickles_of_an_index, "sub/model.bin"), "sub/model.bin"),
        ("pickle named as text", partial(pickles_of_an_index, "model.txt"), "model.txt"),
    )
}
"""Folders that are wrong even where pickles are allowed."""
