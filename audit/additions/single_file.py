"""Load the networks of a pipeline from one checkpoint in Stability AI's layout; configs come from a folder."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from flashbulb.audit.additions.files import check_floats, linear_shape, opened, show_names
from flashbulb.audit.additions.released import MARKERS, find_kind, write_configs
from flashbulb.audit.additions.stability_names import autoencoder_name, open_clip_name, unet_name
from flashbulb.audit.model.configs import WeightsSize, check_network, read_config
from flashbulb.audit.model.errors import ModelError, refusing

_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_CLIP = {
    "text_encoder": ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer."),
    "text_encoder_2": (),
}
_OPEN_CLIP = {"text_encoder": "cond_stage_model.model.", "text_encoder_2": "conditioner.embedders.1.model."}
_UNUSED = re.compile(  # averages of the weights, the noise schedule, losses, and parts that no pipeline has
    r"model_ema\.|(betas|alphas_|sqrt_|log_one_minus_|posterior_|logvar|denoiser\.|lvlb_weights)|first_stage_model\.loss\.|"
    r".*(position_ids|logit_scale|attn_mask)$|cond_stage_model\.model\.text_projection$|cond_stage_model\.model\.visual\."
)
_LAYER = re.compile(r"\.(?:resblocks|encoder\.layers)\.(\d+)\.")
_JOINED = re.compile(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)")


class _Source(NamedTuple):
    """Where a weight is in the file, and how it is read from there."""

    key: str
    read: Callable[[Tensor], Tensor]


class SingleFile:
    """An open checkpoint that holds all networks of a pipeline; every weight of it is used or known to be unused."""

    def __init__(self, path: Path, file: Any) -> None:
        """Keep the open file of `open_single_file`."""
        self._path, self._file = path, file
        self._keys = set(file.keys())
        self._unread = set(self._keys)

    def load_network(self, folder: Path, network_class: Any, dtype: torch.dtype) -> Any:
        """Load the network that the configs in `folder` describe.

        Raises:
            ModelError: the file lacks one of its weights, or has it in another shape.
        """
        config = read_config(folder / "config.json")
        size = WeightsSize(len(self._keys), self._path.stat().st_size)
        check_network(folder / "config.json", config, size)
        with refusing(folder), warnings.catch_warnings(), no_init_weights(), _default(dtype):
            warnings.simplefilter("ignore")
            is_text_encoder = issubclass(network_class, PreTrainedModel)
            if is_text_encoder:
                network = network_class(network_class.config_class.from_pretrained(folder, local_files_only=True))
            else:
                network = network_class.from_config(config)
        weights = network.state_dict()
        sources = {name: self._source(folder.name, name, network) for name in weights}
        if missing := sorted(name for name, source in sources.items() if source.key not in self._keys):
            raise ModelError(
                f"{self._path} lacks {len(missing)} weights of the {folder.name} in {folder.parent}, first "
                f"{missing[0]}; give a whole checkpoint, and with --model-config a folder of its kind"
            )
        check_floats(self._file, self._path, {source.key for source in sources.values()})
        for name, source in sources.items():
            weights[name].copy_(self._read(source, name, weights[name]))
        if is_text_encoder:
            self._leave_later_layers(folder.name, network.config.num_hidden_layers)
        return network.eval()

    def find_kind(self) -> str:
        """Return the kind of the checkpoint, as `released.find_kind`."""
        return find_kind(self._path, self._file)

    def write_configs(self, kind: str, tokenizer: Path | None, target: Path) -> Path:
        """Write the configs of a kind to a folder in `target`, as `released.write_configs`, which reads the markers."""
        self._unread -= set(MARKERS)
        return write_configs(kind, self._file, tokenizer, target)

    def check_unread(self) -> None:
        """Refuse weights that no network of the pipeline has a place for."""
        if left := sorted(key for key in self._unread if not _UNUSED.match(key)):
            raise ModelError(
                f"{self._path} holds {len(left)} weights that the pipeline has no place for, first {show_names(left)}; "
                "give with --model-config a folder of its kind, or remove them"
            )

    def _read(self, source: _Source, name: str, weight: Tensor) -> Tensor:
        self._unread.discard(source.key)
        found = source.read(self._file.get_tensor(source.key))
        if linear_shape(found) != linear_shape(weight):
            raise ModelError(
                f"{self._path} has {show_names([source.key])} of shape {list(found.shape)}, {name} has "
                f"{list(weight.shape)}; give with --model-config a folder of its kind"
            )
        return found.reshape(weight.shape)

    def _source(self, component: str, name: str, network: Any) -> _Source:
        module, _, parameter = name.rpartition(".")
        if component == "unet":
            return _Source(f"{_UNET}{unet_name(module, network) or module}.{parameter}", _as_it_is)
        if component == "vae":
            n_blocks = len(network.config.up_block_types)
            return _Source(f"{_VAE}{autoencoder_name(module, n_blocks)}.{parameter}", _as_it_is)
        name = name.removeprefix("text_model.")
        for prefix in _CLIP.get(component, ()):
            for key in (f"{prefix}text_model.{name}", f"{prefix}{name}"):
                if key in self._keys:
                    return _Source(key, _as_it_is)
        return _open_clip_source(_OPEN_CLIP.get(component, ""), name)

    def _leave_later_layers(self, component: str, n_layers: int) -> None:
        """Leave out layers after the last that the config asks for: Stable Diffusion 2 reads the last but one."""
        prefixes = (*_CLIP.get(component, ()), _OPEN_CLIP.get(component, " "))
        for key in [key for key in self._unread if key.startswith(prefixes)]:
            if (layer := _LAYER.search(key)) and int(layer[1]) >= n_layers:
                self._unread.discard(key)


@contextmanager
def open_single_file(path: Path) -> Iterator[SingleFile]:
    """Open a checkpoint of Stable Diffusion 1, 2 or XL.

    Raises:
        ModelError: it is no .safetensors file, torn, or without the networks of such a model.
    """
    with opened(path) as file:
        single = SingleFile(path, file)
        keys = list(file.keys())
        if absent := [prefix for prefix in (_UNET, _VAE) if not any(key.startswith(prefix) for key in keys)]:
            raise ModelError(
                f"{path} holds no {absent[0]}… weights, so it is no checkpoint of Stable Diffusion 1, 2 or XL with all "
                "of its parts; convert it to a folder with diffusers (from_single_file, save_pretrained)"
            )
        yield single
        single.check_unread()


def _open_clip_source(prefix: str, name: str) -> _Source:
    if name == "embeddings.position_embedding.weight":
        return _Source(f"{prefix}positional_embedding", _as_it_is)
    if name == "text_projection.weight":
        return _Source(f"{prefix}text_projection", lambda tensor: tensor.t() if tensor.dim() == 2 else tensor)
    if (match := _JOINED.fullmatch(name)) is not None:
        which = "qkv".index(match[2])
        key = f"{prefix}transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"
        return _Source(key, lambda tensor: _third(tensor, which))
    module, _, parameter = name.rpartition(".")
    return _Source(f"{prefix}{open_clip_name(module)}.{parameter}", _as_it_is)


def _third(tensor: Tensor, which: int) -> Tensor:
    thirds = tensor.chunk(3) if tensor.dim() else ()
    return thirds[which] if len(thirds) == 3 else tensor


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
