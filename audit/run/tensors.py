"""Store tensors with JSON metadata in one safetensors file, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from flashbulb.reports.tables.files import METADATA_KEY, atomic_write


def write_tensors(path: Path, tensors: Mapping[str, Tensor], identity: str, metadata: Mapping[str, Any]) -> None:
    """Write tensors and their JSON metadata.

    Args:
        identity: hash of everything the tensors depend on; `read_tensors` compares it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as part:
        save_file(contiguous, part, metadata={METADATA_KEY: json.dumps({**metadata, "identity": identity})})


def read_tensors(path: Path, identity: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `write_tensors` wrote: tensors by name, and their metadata.

    Returns None if the file is missing, unreadable or of another identity.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
            if not isinstance(metadata, dict) or metadata.get("identity") != identity:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError, ValueError):
        return None
