"""Model folders that bring code under many names: pickles, templates, modules that shadow others, links outside."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.audit.model.loading.folders import CONFIGS, WEIGHTS, Change, bring_code, edit_config, edit_index, ran, write
from tests.audit.model.loading.pickles import Payload

JINJA = (
    "{{% for x in ().__class__.__base__.__subclasses__() %}}"
    "{{{{ cycler.__init__.__globals__.os.popen('touch {}') }}}}{{% endfor %}}"
)
PICKLE_NAMES = {
    "unet": ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.ckpt", "diffusion_pytorch_model.fp16.bin"),
    "vae": ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.pt", "diffusion_flax_model.msgpack"),
    "text_encoder": ("pytorch_model.bin", "pytorch_model.pt", "model.ckpt", "tf_model.h5", "flax_model.msgpack"),
}
BESIDE = (
    *("pytorch_lora_weights.bin", "learned_embeds.bin", "embeddings.pt", "model.ckpt", "scheduler/scheduler.bin"),
    *("unet/adapter_model.bin", "unet/optimizer.bin", "unet/random_states_0.pkl", "text_encoder/training_args.bin"),
    *("tokenizer/tokenizer.pkl", "tokenizer/tokenizer.model", "safety_checker/pytorch_model.bin"),
)
MODULES = (
    *("pipeline.py", "model.py", "modeling.py", "__init__.py", "sitecustomize.py", "usercustomize.py", "conftest.py"),
    *("torch.py", "diffusers.py", "transformers.py", "json.py", "unet/__init__.py", "unet/diffusers.py", "setup.py"),
    *("text_encoder/modeling_clip.py", "tokenizer/tokenization.py", "scheduler/scheduling.py"),
    *("text_encoder/custom_generate/generate.py", "handler.py", "flashbulb.py"),
)


def payload(folder: Path) -> bytes:
    return pickle.dumps(Payload(folder))


def zipped(folder: Path) -> bytes:
    """A file of `torch.save` whose pickle is the payload."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", payload(folder))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return file.getvalue()


def script(folder: Path) -> bytes:
    """A TorchScript archive."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


def instead(component: str, name: str, make: Callable[[Path], bytes], folder: Path) -> None:
    """Put code in the place of a component's weights."""
    (folder / component / WEIGHTS[component]).unlink()
    write(folder / component / name, make(folder))


def beside(place: str, make: Callable[[Path], bytes], folder: Path) -> None:
    write(folder / place, make(folder))


def module(place: str, folder: Path) -> None:
    bring_code(folder / place, folder)


def entry(component: str, key: str, value: Any, folder: Path) -> None:
    """Set an entry of a component's config, beside a module that it may name."""
    bring_code(folder / component / "mine.py", folder)
    bring_code(folder / "mine.py", folder)
    edit_config(component, folder, **{key: value})


def template(place: str, folder: Path) -> None:
    text = JINJA.format(ran(folder))
    if place.endswith(".jinja"):
        write(folder / place, text)
    else:
        edit_config("tokenizer", folder, **{place: text})


def outside(component: str, folder: Path) -> None:
    """Replace a component by a link to a folder elsewhere that brings code."""
    target = folder.with_name(f"{folder.name}-{component}")
    (folder / component).rename(target)
    (folder / component).symlink_to(target)
    bring_code(target / "mine.py", folder)
    write(target / "pytorch_model.bin", payload(folder))


def named(component: str, value: Any, folder: Path) -> None:
    bring_code(folder / "mine.py", folder)
    bring_code(folder / component / "mine.py", folder)
    edit_index(folder, **{component: value})


def added(name: str, content: Any, folder: Path) -> None:
    write(folder / "tokenizer" / name, json.dumps(content))


NAMES_OF_CODE: dict[str, Any] = {
    "auto_map": {"AutoModel": "mine.Encoder", "AutoConfig": "mine.Config"},
    "_attn_implementation": "owner/name",
    "quantization_config": {"quant_method": "mine", "load_in_4bit": True},
    "torch_dtype": "os.system",
    "dtype": "mine.Mine",
    "architectures": ["mine.Encoder"],
    "_name_or_path": "../mine.py",
    "custom_pipelines": {"mine": {"impl": "mine.py"}},
    "use_remote_code": True,
    "trust_remote_code": True,
}
CLASSES: tuple[Any, ...] = (
    *(["mine", "Mine"], ["os", "system"], ["subprocess", "Popen"], ["builtins", "exec"], ["diffusers.utils", "os"]),
    *(
        ["transformers", "pipeline"],
        ["transformers", "AutoModel"],
        ["diffusers", "ModularPipeline"],
        ["..mine", "Mine"],
    ),
)
TOKENS = {
    "added_tokens.json": {"__class__": "os.system", "<|x|>": {"__reduce__": ["os.system", "touch x"]}},
    "special_tokens_map.json": {"bos_token": {"__type": "AddedToken", "content": ["x"], "lstrip": "os.system"}},
    "tokenizer_config.json": {"tokenizer_class": "../mine.Tokenizer", "auto_map": None},
    "vocab.json": {"__reduce__": "os.system"},
    "processor_config.json": {"auto_map": {"AutoProcessor": "mine.Mine"}, "processor_class": "mine.Mine"},
}

PAYLOADS: dict[str, Change] = {
    **{
        f"pickle as {component}/{name}": partial(instead, component, name, payload)
        for component, names in PICKLE_NAMES.items()
        for name in names
    },
    **{
        f"{kind} as {component}/{WEIGHTS[component]}": partial(instead, component, WEIGHTS[component], make)
        for component in WEIGHTS
        for kind, make in (("pickle", payload), ("torch archive", zipped), ("TorchScript", script))
    },
    **{f"pickle beside, {place}": partial(beside, place, payload) for place in BESIDE},
    **{f"torch archive beside, {place}": partial(beside, place, zipped) for place in BESIDE[:4]},
    **{f"module {place}": partial(module, place) for place in MODULES},
    **{
        f"{component} config with {key}": partial(entry, component, key, value)
        for component in CONFIGS
        for key, value in NAMES_OF_CODE.items()
    },
    **{f"{component} of class {'.'.join(c)}": partial(named, component, c) for component in CONFIGS for c in CLASSES},
    **{
        f"template in {place}": partial(template, place) for place in ("chat_template", "tokenizer/chat_template.jinja")
    },
    **{f"{component} linked elsewhere": partial(outside, component) for component in CONFIGS},
    **{f"tokenizer/{name}": partial(added, name, content) for name, content in TOKENS.items()},
}
