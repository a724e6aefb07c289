"""Input embeddings of text encoders: find them, read the tokens that they receive, and substitute their output."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn


def input_embeddings(encoder: Any) -> tuple[nn.Module, ...]:
    """Return the embeddings that hold the encoder's input vectors; one of them runs.

    T5 has two with one weight, and `get_input_embeddings` names the one that never runs. An offloaded model has no
    weights between its runs; there the shape tells which embeddings hold the same vectors.
    """
    named: nn.Module = encoder.get_input_embeddings()
    own = named.weight

    def is_shared(weight: Tensor) -> bool:
        return weight is own or (weight.is_meta and weight.shape == own.shape)

    shared = [m for m in encoder.modules() if isinstance(m, nn.Embedding) and is_shared(m.weight)]
    return tuple(shared) or (named,)


@contextmanager
def read_tokens(encoders: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the tokens that text encoders receive while the context is open.

    Yields:
        input_ids [prompt, position] by the name of the encoder, one tensor for each time that it runs.
    """
    received: dict[str, list[Tensor]] = {name: [] for name in encoders}

    def keep(name: str, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        received[name].append(args[0])

    with ExitStack() as stack:
        for name, encoder in encoders.items():
            for embedding in input_embeddings(encoder):
                stack.callback(embedding.register_forward_pre_hook(partial(keep, name)).remove)
        yield received


@contextmanager
def substitute_embeddings(encoders: Mapping[str, nn.Module], outputs: Mapping[str, Tensor]) -> Iterator[None]:
    """Feed text encoders `outputs` [prompt, position, width] in place of their token embeddings.

    The embeddings still run; gradients flow back to `outputs`.

    Args:
        encoders, outputs: by the name of the encoder.

    Raises:
        ValueError: an embedding's own result has another shape than its substitute.
    """
    with ExitStack() as stack:
        for name, output in outputs.items():
            for embedding in input_embeddings(encoders[name]):
                stack.enter_context(substitute(embedding, output))
        yield


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
