"""State of the process in which a command computes: a result may not depend on what a notebook has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from flashbulb.audit.run.memory import reserve_blas_buffers


@contextmanager
def torch_as_started() -> Iterator[None]:
    """Undo the caller's default dtype and device, autocast, no_grad and inference mode, until the context closes.

    The default dtype decides what noise is drawn. It is the whole process's; the others are this thread's.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


@contextmanager
def computing() -> Iterator[None]:
    """Compute inside the block: denormals are flushed to zero, and BLAS libraries have their buffers.

    Denormals are flushed in this thread, and in those of torch that start in the block.

    Raises:
        OSError: memory does not suffice to begin.
    """
    reserve_blas_buffers()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
