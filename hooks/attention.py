"""Watch cross-attention: the probabilities that fused attention kernels never form, recomputed as each layer runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from hooks.capture import N_NAMED, SiteDidNotFire


def cross_attention_layers(unet: nn.Module) -> dict[str, Attention]:
    """Text cross-attention layers by their path in `unet`, in its module order; empty where it has none.

    Attention with added text projections is left out, as in `find_sites`: its `to_k` sees the image.
    """
    return {
        path: module
        for path, module in unet.named_modules()
        if isinstance(module, Attention) and module.is_cross_attention and module.added_kv_proj_dim is None
    }


@contextmanager
def observe_attention(
    layers: Mapping[str, Attention], on_probabilities: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `on_probabilities` with a layer's name and softmax(q kᵀ · scale) whenever the layer runs.

    The probabilities are float32 [batch, head, pixel, position], on the layer's device and still on the graph.
    They are those of a layer that is given no attention mask; Stable Diffusion pipelines give none.

    Raises:
        SiteDidNotFire: on a clean exit, a layer never ran, as fused projections make it.
    """
    queries: dict[str, Tensor] = {}
    fired: set[str] = set()

    def keep_query(name: str, _module: nn.Module, _args: tuple[Tensor, ...], query: Tensor) -> None:
        queries[name] = query

    def pass_on(name: str, _module: nn.Module, _args: tuple[Tensor, ...], key: Tensor) -> None:
        fired.add(name)
        on_probabilities(name, _probabilities(layers[name], queries.pop(name), key))

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.to_q.register_forward_hook(partial(keep_query, name)).remove)
            stack.callback(layer.to_k.register_forward_hook(partial(pass_on, name)).remove)
        yield
    silent = [name for name in layers if name not in fired]
    if silent:
        raise SiteDidNotFire(
            f"{len(silent)} of {len(layers)} attention layers did not fire, first {', '.join(silent[:N_NAMED])}; "
            "a compiled model or fused projections do this"
        )


def _probabilities(layer: Attention, query: Tensor, key: Tensor) -> Tensor:
    """Attention of `query` [batch, pixel, head × width] to `key` [batch, position, head × width]."""
    # [batch, …, head × width] -> [batch, head, …, width]
    query, key = (x.reshape(*x.shape[:2], layer.heads, -1).transpose(1, 2) for x in (query, key))
    if layer.norm_q is not None:
        query = layer.norm_q(query)
    if layer.norm_k is not None:
        key = layer.norm_k(key)
    probabilities: Tensor = (query.float() @ key.float().transpose(-1, -2) * layer.scale).softmax(dim=-1)
    return probabilities
