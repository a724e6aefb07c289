"""Let a real model run out of memory: its denoiser refuses batches above a size, as an allocator does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

ON_CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "68719476736 bytes. Error code 12 (Cannot allocate memory)"
)
IN_ONEDNN = RuntimeError("could not create a primitive")
ON_GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB")


@contextmanager
def room_for(n_latents: int, network: Any, error: Exception = ON_CPU) -> Iterator[list[int]]:
    """Raise `error` whenever a denoiser is called with more latents; yield the sizes that it was called with."""
    sizes: list[int] = []

    def refuse(_module: Any, args: Any, keywords: Any) -> None:
        latents = args[0] if args else keywords["sample"]
        sizes.append(len(latents))
        if len(latents) > n_latents:
            raise error

    handle = network.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        yield sizes
    finally:
        handle.remove()
