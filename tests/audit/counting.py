"""Count what any UNet evaluates, and interrupt it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from diffusers import UNet2DConditionModel
from torch.nn.modules.module import register_module_forward_hook


@contextmanager
def counted_latents(stop_after: int | None = None) -> Iterator[SimpleNamespace]:
    """Count the latents that any UNet evaluates, whoever calls it; Ctrl-C is pressed when there are more than allowed.

    A call that is stopped before the UNet runs evaluates nothing.
    """
    count = SimpleNamespace(n_latents=0)

    def add(module, args, _output):
        if isinstance(module, UNet2DConditionModel):
            count.n_latents += len(args[0])
            if stop_after is not None and count.n_latents > stop_after:
                raise KeyboardInterrupt

    handle = register_module_forward_hook(add)
    try:
        yield count
    finally:
        handle.remove()
