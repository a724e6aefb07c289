"""Tensors with what is stated of them, in one safetensors file that appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reports.files import whole_file

_KEY = "engram"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], identity: str, stated: Mapping[str, Any]) -> None:
    """Write tensors and what is stated of them (JSON), made from `identity`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    of_file = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as part:
        save_file(of_file, part, metadata={_KEY: json.dumps({**stated, "identity": identity})})


def read_tensors(path: Path, identity: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `write_tensors` wrote; None if there is nothing, nothing that can be read, or of another identity."""
    try:
        with safe_open(path, framework="pt") as file:
            stated = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            if not isinstance(stated, dict) or stated.get("identity") != identity:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}, stated  # noqa: SIM118
    except (OSError, SafetensorError, ValueError):
        return None
