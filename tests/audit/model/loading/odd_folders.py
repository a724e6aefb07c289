"""Folders that look odd and load."""

import os
from functools import partial
from pathlib import Path

from tests.audit.model.loading.folders import (
    CONFIGS,
    Change,
    bring_code,
    edit_config,
    raw_config,
    shard_,
    text,
)
from tests.audit.model.loading.hostile_code import unused_component_with_code
from tests.audit.model.loading.hostile_numbers import rules, split
from tests.audit.model.loading.hostile_weights import with_weights


def surplus_layers(folder: Path) -> None:
    """Have the config of a text encoder end before its weights, as Stable Diffusion 2's text encoder does."""
    edit_config("text_encoder", folder, num_hidden_layers=1)


def blobs(component: str, folder: Path) -> None:
    """Move files out of the folder and link them, as the cache of the hub does."""
    store = folder.with_name(f"{folder.name}.blobs")
    store.mkdir(exist_ok=True)
    for path in sorted((folder / component).iterdir()):
        blob = store / f"{component}{len(list(store.iterdir()))}"
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, path.parent))


def linked_shards(folder: Path) -> None:
    shard_("unet", folder)
    shard_("text_encoder", folder)
    for component in CONFIGS:
        blobs(component, folder)


def with_projection(folder: Path) -> None:
    with_weights(["text_projection.weight"], "text_encoder", folder)


GOOD: dict[str, Change] = {
    "as it was saved": lambda folder: None,
    "linked from blobs": lambda folder: blobs("unet", folder),
    "shards linked from blobs": linked_shards,
    "surplus text layers": surplus_layers,
    "position ids": partial(with_weights, ["text_model.embeddings.position_ids"], "text_encoder"),
    "a projection that is not read": with_projection,
    "an image encoder that is not read": unused_component_with_code,
    "no length": partial(raw_config, "tokenizer", "model_max_length", str(int(1e30))),
    "python files that nothing names": lambda folder: bring_code(folder / "pipeline.py", folder),
    "python files of a strange name": lambda folder: bring_code(folder / "None.py", folder),
    "an index of another format": partial(text, "unet/flax.msgpack.index.json", '{"weight_map": {"a": "b.msgpack"}}'),
    "a file of no readable name": partial(text, "unet/\udcff.json", "{}"),
    "rules of a real tokenizer": partial(
        rules,
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    split(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"),
                    split(r"[^\r\n\p{L}\p{N}]?[\p{Lu}]*[\p{Ll}]+(?i:'s|'t)?|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)|\s+"),
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
                ],
            }
        },
    ),
}
