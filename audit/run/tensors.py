"""Store tensors with JSON metadata in one safetensors file: written atomically, and compared with a hash when read."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from flashbulb.reports.tables.files import METADATA_KEY, atomic_write

logger = logging.getLogger(__name__)

_SHA256 = "sha256"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], identity: str, metadata: Mapping[str, Any]) -> None:
    """Write tensors and their JSON metadata.

    Args:
        identity: hash of everything the tensors depend on; `read_tensors` compares it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    stated = {**metadata, "identity": identity}
    stated[_SHA256] = _hash(contiguous, stated)
    content = save(contiguous, {METADATA_KEY: json.dumps(stated)})
    with atomic_write(path) as part:
        part.write_bytes(content)


def read_tensors(path: Path, identity: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `write_tensors` wrote: tensors by name, and their metadata.

    Returns None if the file is missing, of another identity, or damaged; damage is logged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            stated = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not isinstance(stated, dict) or stated.pop(_SHA256, None) != _hash(tensors, stated):
            raise ValueError("it is not what was written")
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        logger.warning("%s is damaged and counts as missing: %s", path, error)
        return None
    return (tensors, stated) if stated["identity"] == identity else None


def _hash(tensors: Mapping[str, Tensor], stated: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(stated).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
