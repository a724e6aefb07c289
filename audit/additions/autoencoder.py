"""Put another autoencoder into a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch

from flashbulb.audit.additions.files import combined_fingerprint
from flashbulb.audit.model.configs import read_config
from flashbulb.audit.model.errors import ModelError, refusing
from flashbulb.audit.model.loading.pipelines import HASHED
from flashbulb.audit.model.loading.weights import load_network

_SIDE = 4  # of the latents that are decoded as a trial


def find_autoencoder(folder: Path) -> Path:
    """Return the folder of an autoencoder: itself, or `vae` in a pipeline folder.

    Raises:
        ModelError: there is none.
    """
    found = [path for path in (folder / "vae", folder) if (path / "config.json").is_file()]
    if not found:
        raise ModelError(f"no autoencoder in {folder}; give --vae a folder with config.json and weights")
    return found[0]


def replace_autoencoder_(pipe: Any, folder: Path, classes: tuple[str, ...], allow_pickle: bool) -> None:
    """Load the autoencoder in a folder in place of the pipeline's.

    Args:
        classes: those that the family expects.

    Raises:
        ModelError: its class is not one of these, it cannot be loaded, or it does not fit the pipeline's latents.
    """
    name = read_config(folder / "config.json").get("_class_name")
    if name not in classes:
        raise ModelError(f"{folder} is of class {name}; give an autoencoder of class {', '.join(classes)}")
    autoencoder = load_network(folder, getattr(diffusers, str(name)), pipe.vae.dtype, allow_pickle)
    before, after = (_image_shape(folder, vae) for vae in (pipe.vae, autoencoder.to(pipe.vae.device)))
    if before != after:
        raise ModelError(
            f"{folder} makes images of shape {after} where the pipeline's autoencoder makes {before}; give an "
            "autoencoder that was trained for the same latents"
        )
    pipe.register_modules(vae=autoencoder)


def autoencoder_fingerprint(fingerprint: str, folder: Path) -> str:
    """Return the fingerprint of a model with this autoencoder."""
    for path in sorted(folder.iterdir()):
        if path.suffix in HASHED and path.is_file():
            fingerprint = combined_fingerprint(fingerprint, path, "autoencoder", path.name)
    return fingerprint


@torch.no_grad()
def _image_shape(folder: Path, vae: Any) -> tuple[int, ...]:
    """Return the shape of what empty latents are decoded to; it tells channels and scale."""
    channels = vae.config.latent_channels
    with refusing(folder):
        latents = torch.zeros(1, channels, _SIDE, _SIDE, device=vae.device, dtype=vae.dtype)
        return channels, *vae.decode(latents).sample.shape[1:]
