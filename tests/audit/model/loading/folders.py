"""Change copies of a saved pipeline folder, and tell whether code that a folder brings has run."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
CONFIGS = {
    **dict.fromkeys(WEIGHTS, "config.json"),
    "scheduler": "scheduler_config.json",
    "tokenizer": "tokenizer_config.json",
}
DEEP = "[" * 100_000 + "]" * 100_000

Change = Callable[[Path], None]


def ran(folder: Path) -> Path:
    """Return the file that tells that code of the folder ran."""
    return folder.with_name(f"{folder.name}.ran")


def linked_copy(source: Path, target: Path) -> Path:
    """Copy a folder by hard links; the functions below replace files and never write into them."""
    return Path(shutil.copytree(source, target, copy_function=os.link))


def write(path: Path, content: str | bytes) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def edit(path: Path, **entries: Any) -> None:
    write(path, json.dumps({**json.loads(path.read_text()), **entries}))


def edit_index(folder: Path, **entries: Any) -> None:
    edit(folder / "model_index.json", **entries)


def edit_config(component: str, folder: Path, **entries: Any) -> None:
    edit(folder / component / CONFIGS[component], **entries)


def edit_weights(component: str, folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = folder / component / WEIGHTS[component]
    weights = change(load_file(path))
    path.unlink()
    save_file(weights, path, metadata={"format": "pt"})


def bring_code(path: Path, folder: Path) -> None:
    """Write a module whose import tells that it ran; it has every class that a folder here names."""
    names = "Mine Scheduler UNet UNet2DConditionModel AutoencoderKL Encoder Config Tokenizer".split()
    classes = "".join(f"class {name}:\n    pass\n" for name in names)
    write(path, f"import pathlib\npathlib.Path({str(ran(folder))!r}).write_text('ran')\n{classes}")


def config(component: str, entries: dict[str, Any], folder: Path) -> None:
    edit_config(component, folder, **entries)


def raw_config(component: str, key: str, value: str, folder: Path) -> None:
    """Write a value that Python's JSON writer has no form for."""
    edit_config(component, folder, **{key: "@value@"})
    path = folder / component / CONFIGS[component]
    write(path, path.read_text().replace('"@value@"', value))


def whole_config(component: str, text: str, folder: Path) -> None:
    write(folder / component / CONFIGS[component], text)


def text(place: str, content: str, folder: Path) -> None:
    write(folder / place, content)


def index(entries: dict[str, Any], folder: Path) -> None:
    edit_index(folder, **entries)


def replaced(place: str, make: Callable[[Path], None], folder: Path) -> None:
    make(folder / place)


def shard_(
    component: str,
    folder: Path,
    rename: Callable[[str], Any] = str,
    kept: Callable[[list[str]], list[str]] = list,
    index_name: str | None = None,
) -> Path:
    """Split weights into two shards and an index.

    Args:
        rename: what the index says instead of the second shard's name.
        kept: which weights of the second shard the index names.
    """
    path = folder / component / WEIGHTS[component]
    weights, stem = load_file(path), path.name.removesuffix(".safetensors")
    keys, names = sorted(weights), [f"{stem}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    path.unlink()
    parts = [keys[::2], keys[1::2]]
    for name, part in zip(names, parts, strict=True):
        save_file({key: weights[key] for key in part}, path.with_name(name), metadata={"format": "pt"})
    weight_map = dict.fromkeys(parts[0], names[0]) | {key: rename(names[1]) for key in kept(parts[1])}
    write(
        path.with_name(index_name or f"{path.name}.index.json"),
        json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}),
    )
    return path.with_name(names[1])
