"""Substitute a given tensor for a module's output while a context is open."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def substitute(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Make `module` return `output` whatever its input; gradients flow back to `output`.

    The module still runs; its own result is discarded.

    Raises:
        ValueError: the module's own result has another shape than `output`.
    """

    def replace(_module: nn.Module, _args: tuple[object, ...], original: Tensor) -> Tensor:
        if original.shape != output.shape:
            raise ValueError(f"the module returns {tuple(original.shape)}, cannot substitute {tuple(output.shape)}")
        return output.to(original.dtype)

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
