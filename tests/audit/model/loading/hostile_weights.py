"""Folders whose indices name what they should not, or whose weights are not those of the network."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.audit.model.loading.folders import DEEP, WEIGHTS, Change, edit_config, edit_weights, replaced, shard_, write
from tests.audit.model.loading.pickles import pickle_named_as_safetensors, pickled_shard


def named_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def shard_elsewhere(component: str, place: str, folder: Path) -> None:
    shard = shard_(component, folder, lambda name: place.format(name=name, folder=folder.parent))
    target = Path(os.path.normpath(shard.parent / place.format(name=shard.name, folder=folder.parent)))
    target.parent.mkdir(exist_ok=True)
    shard.rename(target)


def shard_named(name: Any, component: str, folder: Path) -> None:
    shard_(component, folder, lambda _: name)


def lost_shard(component: str, folder: Path) -> None:
    shard_(component, folder).unlink()


def index_without_some_weights(component: str, folder: Path) -> None:
    shard_(component, folder, kept=lambda keys: keys[1:])


def index_with_invented_weights(component: str, folder: Path) -> None:
    """Leave a weight out of a shard that the index still names."""
    shard = shard_(component, folder)
    weights = load_file(shard)
    weights.pop(sorted(weights)[0])
    shard.unlink()
    save_file(weights, shard, metadata={"format": "pt"})


def index_text(text: str, component: str, folder: Path) -> None:
    shard_(component, folder)
    write(folder / component / f"{WEIGHTS[component]}.index.json", text)


def special_shard(make: Callable[[Path], None], component: str, folder: Path) -> None:
    shard = shard_(component, folder)
    shard.unlink()
    make(shard)


def distributed_checkpoint(folder: Path) -> None:
    weights = folder / "text_encoder" / WEIGHTS["text_encoder"]
    os.link(weights, weights.with_name("shard-00000-model-00000-of-00001.safetensors"))


def weights_named_in_config(name: str, folder: Path) -> None:
    edit_config("text_encoder", folder, transformers_weights=name)


def adapter_beside_weights(folder: Path) -> None:
    adapter = {"base_model_name_or_path": "../elsewhere", "peft_type": "LORA"}
    write(folder / "text_encoder" / "adapter_config.json", json.dumps(adapter))


def prefixed(prefix: str, component: str, folder: Path) -> None:
    edit_weights(component, folder, lambda weights: {prefix + key: tensor for key, tensor in weights.items()})


def with_weights(keys: list[str], component: str, folder: Path) -> None:
    edit_weights(component, folder, lambda weights: weights | {key: torch.zeros(4) for key in keys})


def with_old_lora(folder: Path) -> None:
    def add(weights: dict[str, Any]) -> dict[str, Any]:
        for key in [key for key in weights if key.endswith("attn2.to_v.weight")]:
            rows, columns = weights[key].shape
            layer = key.replace("to_v.weight", "processor.to_v_lora")
            weights |= {f"{layer}.down.weight": torch.randn(4, columns), f"{layer}.up.weight": torch.randn(rows, 4)}
        return weights

    edit_weights("unet", folder, add)


def with_unfused_peft(component: str, layer: str, folder: Path) -> None:
    def wrap(weights: dict[str, Any]) -> dict[str, Any]:
        for key in [key for key in weights if key.endswith(f"{layer}.weight")]:
            stem, tensor = key.removesuffix(".weight"), weights.pop(key)
            weights |= {
                f"{stem}.base_layer.weight": tensor,
                f"{stem}.lora_A.default.weight": torch.zeros(4, tensor.shape[1]),
                f"{stem}.lora_B.default.weight": torch.zeros(tensor.shape[0], 4),
            }
        return weights

    edit_weights(component, folder, wrap)


def without_some_weights(component: str, folder: Path) -> None:
    edit_weights(component, folder, lambda weights: dict(list(weights.items())[3:]))


def as_integers(component: str, folder: Path) -> None:
    edit_weights(component, folder, lambda weights: {key: tensor.to(torch.int8) for key, tensor in weights.items()})


FILES: dict[str, tuple[Change, str]] = {
    **{
        f"{component}: {name}": (partial(change, component), words)
        for component in ("unet", "text_encoder")
        for name, change, words in (
            ("pickled shard in a safetensors index", pickled_shard, ".bin"),
            ("pickle named as safetensors", pickle_named_as_safetensors, "cannot be loaded"),
            ("lost shard", lost_shard, "00002-of-00002.safetensors"),
            ("index without some weights", index_without_some_weights, "holds"),
            ("index with invented weights", index_with_invented_weights, "lacks"),
            ("shard outside", lambda c, f: shard_elsewhere(c, "../../outside.safetensors", f), "../../outside"),
            (
                "shard at an absolute path",
                lambda c, f: shard_elsewhere(c, "{folder}/far.safetensors", f),
                "no file beside it",
            ),
            ("shard in a subfolder", lambda c, f: shard_elsewhere(c, "sub/{name}", f), "sub/"),
            ("shard beside, by a detour", lambda c, f: shard_elsewhere(c, "../" + c + "/{name}", f), "../"),
            ("shard that is a number", partial(shard_named, 7), "weight_map"),
            ("shard that is a list", partial(shard_named, ["a.safetensors"]), "weight_map"),
            ("shard of no name", partial(shard_named, ""), "names ''"),
            ("shard that is the folder", partial(shard_named, "."), "is no file"),
            ("shard with a zero byte", partial(shard_named, "a\0.safetensors"), "is no file"),
            ("shard that is a config", partial(shard_named, "config.json"), "config.json"),
            ("shard of endless zeros", partial(special_shard, endless), "00002-of-00002.safetensors"),
            ("shard that is a named pipe", partial(special_shard, named_pipe), "00002-of-00002.safetensors"),
            ("shard that is a folder", partial(special_shard, Path.mkdir), "00002-of-00002.safetensors"),
            ("index that is a list", partial(index_text, "[]"), "index.json"),
            ("index that is empty", partial(index_text, "{}"), "weight_map"),
            ("index of no weights", partial(index_text, '{"metadata": {}, "weight_map": {}}'), "weight_map"),
            ("index that is torn", partial(index_text, '{"weight_map": {'), "index.json"),
            ("index that is deep", partial(index_text, DEEP), "index.json"),
            ("index that is another file", partial(index_text, '{"weight_map": [1]}'), "weight_map"),
        )
    },
    "variant with a shard outside": (
        lambda f: shard_(
            "unet", f, lambda _: "../x.safetensors", index_name="diffusion_pytorch_model.safetensors.index.fp16.json"
        ),
        "../x.safetensors",
    ),
    "distributed checkpoint": (distributed_checkpoint, "shard-00000"),
    "weights named in the config": (
        partial(weights_named_in_config, "../unet/diffusion_pytorch_model.safetensors"),
        "transformers_weights",
    ),
    "weights that are a named pipe": (partial(replaced, f"unet/{WEIGHTS['unet']}", named_pipe), "unet"),
    "endless weights": (partial(replaced, "unet/diffusion_pytorch_model.safetensors", endless), "unet"),
    "endless config": (partial(replaced, "unet/config.json", endless), "unet"),
    "config that is a named pipe": (partial(replaced, "vae/config.json", named_pipe), "vae"),
    "tokenizer that is a named pipe": (partial(replaced, "tokenizer/tokenizer_config.json", named_pipe), "tokenizer"),
    "index that is a named pipe": (partial(replaced, "model_index.json", named_pipe), "model_index.json"),
    "adapter beside the weights": (adapter_beside_weights, "fuse"),
}
KEYS: dict[str, tuple[Change, str]] = {
    "LoRA in the unet's file": (with_old_lora, "fuse"),
    "unfused PEFT in the unet": (partial(with_unfused_peft, "unet", "to_v"), "fuse"),
    "unfused PEFT in the text encoder": (partial(with_unfused_peft, "text_encoder", "q_proj"), "fuse"),
    "PEFT model as the unet": (partial(prefixed, "base_model.model.", "unet"), "fuse"),
    "LoRA without its base": (partial(with_weights, ["mid_block.lora_A.weight"], "unet"), "fuse"),
    "LyCORIS in the unet": (partial(with_weights, ["mid_block.hada_w1_a"], "unet"), "fuse"),
    "LoRA in the vae": (partial(with_weights, ["decoder.conv_in.lora_up.weight"], "vae"), "fuse"),
    **{f"compiled {name}": (partial(prefixed, "_orig_mod.", name), "torch.compile") for name in WEIGHTS},
    "unet of several devices": (partial(prefixed, "module.", "unet"), "DataParallel"),
    "unet with unknown weights": (partial(with_weights, ["extra.weight"], "unet"), "extra.weight"),
    "unet with averages": (partial(with_weights, ["ema.conv_in.weight"], "unet"), "ema.conv_in.weight"),
    "vae with unknown weights": (partial(with_weights, ["loss.logvar"], "vae"), "loss.logvar"),
    "text encoder with unknown weights": (partial(with_weights, ["text_model.extra.weight"], "text_encoder"), "extra"),
    **{f"{name} without some weights": (partial(without_some_weights, name), "lacks") for name in WEIGHTS},
    **{f"{name} in integers": (partial(as_integers, name), "I8") for name in WEIGHTS},
}
