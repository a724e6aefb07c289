"""The device and dtype that a model runs with."""

from __future__ import annotations

import torch


def resolve_device(device: str) -> str:
    """Replace "auto" by "cuda" if a GPU is available, else by "cpu"."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_dtype(dtype: str, device: str) -> torch.dtype:
    """Return the dtype of this name; "auto" is float32 on a CPU, else float16."""
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.float16
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
