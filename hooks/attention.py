"""Observe cross-attention probabilities, which fused kernels never form: recompute them as each layer runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from flashbulb.hooks.capture import N_NAMED, SiteDidNotFire
from flashbulb.hooks.sites import is_text_cross_attention


def cross_attention_layers(unet: nn.Module) -> dict[str, Attention]:
    """Find the text cross-attention layers by their path in `unet`, in its module order; empty if it has none."""
    return {path: module for path, module in unet.named_modules() if is_text_cross_attention(module)}


@contextmanager
def observe_attention(
    layers: Mapping[str, Attention], on_probabilities: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `on_probabilities` with a layer's name and softmax(q kᵀ · scale) whenever the layer runs.

    The probabilities are float32 [batch, head, pixel, position], on the layer's device and still on the graph.
    They are correct for layers without an attention mask; Stable Diffusion pipelines pass none.

    Raises:
        SiteDidNotFire: on a clean exit, a layer never ran, as happens with fused projections.
    """
    queries: dict[str, Tensor] = {}
    fired: set[str] = set()

    def on_query(name: str, _module: nn.Module, _args: tuple[Tensor, ...], query: Tensor) -> None:
        queries[name] = query

    def on_key(name: str, _module: nn.Module, _args: tuple[Tensor, ...], key: Tensor) -> None:
        fired.add(name)
        on_probabilities(name, _probabilities(layers[name], queries.pop(name), key))

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.to_q.register_forward_hook(partial(on_query, name)).remove)
            stack.callback(layer.to_k.register_forward_hook(partial(on_key, name)).remove)
        yield
    silent = [name for name in layers if name not in fired]
    if silent:
        raise SiteDidNotFire(
            f"{len(silent)} of {len(layers)} attention layers did not fire, first {', '.join(silent[:N_NAMED])}; "
            "causes: a compiled model or fused projections"
        )


def _probabilities(layer: Attention, query: Tensor, key: Tensor) -> Tensor:
    """Return the attention of `query` [batch, pixel, head × width] to `key` [batch, position, head × width]."""
    # [batch, …, head × width] -> [batch, head, …, width]
    query, key = (x.reshape(*x.shape[:2], layer.heads, -1).transpose(1, 2) for x in (query, key))
    if layer.norm_q is not None:
        query = layer.norm_q(query)
    if layer.norm_k is not None:
        key = layer.norm_k(key)
    probabilities: Tensor = (query.float() @ key.float().transpose(-1, -2) * layer.scale).softmax(dim=-1)
    return probabilities
