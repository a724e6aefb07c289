"""The denoiser network of a pipeline: its sites, edits of its neurons, and its weights, quantized or not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from flashbulb.audit.model.calls import clip_skip_works, counted_latents, network_of, observed_predictions
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.errors import ModelError, UntrustedModel, refusing
from flashbulb.audit.model.evaluations import EvaluationCounter
from flashbulb.hooks import (
    SITE_KINDS,
    By,
    GuidanceLayout,
    NeuronSet,
    Recording,
    Site,
    UnknownArchitecture,
    ablate,
    find_sites,
    patch,
    record_neurons,
    site_modules,
)
from flashbulb.hooks.attention import cross_attention_layers
from flashbulb.hooks.offload import held_for_gradients, parts_of

_MOST_DEVIATION = 0.1  # of a gradient, from that of the dequantized weights


class Network(EvaluationCounter):
    """The denoiser network of a loaded pipeline, and how often it ran."""

    title: ClassVar[str]
    """Name of the family."""
    guidance: ClassVar[GuidanceLayout]

    def __init__(self, pipe: Any) -> None:
        super().__init__()
        self.pipe = pipe
        self.device: torch.device = pipe._execution_device  # under offload, weights come here when they run
        self.dtype: torch.dtype = network_of(pipe).dtype

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what the pipeline's own calls evaluate while the context is open."""
        with clip_skip_works(self.pipe), counted_latents(self.pipe, self.count):
            yield

    @contextmanager
    def called(self) -> Iterator[Callable[..., Any]]:
        """Yield the denoiser, to be called as pipelines do; its evaluations are counted while the context is open."""
        with self.counting():
            yield network_of(self.pipe)

    @contextmanager
    def extrapolated(self, call_base: Callable[..., Any], weight: float) -> Iterator[None]:
        """Move what the denoiser predicts away from what its base predicts of the same input, in an open context.

        The base sees what this model's text encoders made of the prompt.

        Args:
            call_base: the base's denoiser, or this one with the base's weights in place during the call.
            weight: of the difference between the two, which is added.
        """
        is_base = False

        def move(_module: nn.Module, inputs: Any, keywords: Any, output: Any) -> Any:
            nonlocal is_base
            if is_base:
                return output
            is_base = True
            try:
                moved = output[0] + weight * (output[0] - call_base(*inputs, **keywords)[0])
            finally:
                is_base = False
            return (moved, *output[1:]) if isinstance(output, tuple) else type(output)(sample=moved)

        handle = network_of(self.pipe).register_forward_hook(move, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def sites(self, kinds: Collection[str]) -> tuple[Site, ...]:
        """Find the sites of `kinds`, as `flashbulb.hooks.find_sites`."""
        return find_sites(self.pipe, kinds)

    def site_kinds(self) -> tuple[str, ...]:
        """Return the kinds of sites that the model has, in the order of `flashbulb.hooks.SITE_KINDS`."""
        found = []
        for kind in SITE_KINDS:
            with suppress(UnknownArchitecture):
                found.append(self.sites([kind])[0].kind)
        return tuple(found)

    def modules(self, sites: Sequence[Site]) -> dict[str, nn.Module]:
        """Look up the live module of every site, by `site.name`."""
        return site_modules(self.pipe, sites)

    def run_prompt_sites(self, sites: Sequence[Site], conditioning: Conditioning) -> None:
        """Run the denoiser's modules that read the prompt alone, without an evaluation; all sites are of that kind."""
        assert not sites, f"{self.title} has no module that reads the prompt alone"

    def attention_layers(self) -> dict[str, Attention]:
        """Find the text cross-attention layers by path; empty if text and image share their attention."""
        return cross_attention_layers(network_of(self.pipe))

    def first_up_convolutions(self) -> dict[str, nn.Module]:
        """Find the last convolution of each residual block in the first up block; empty without a UNet."""
        return {}

    def observed_predictions(self) -> AbstractContextManager[list[Tensor]]:
        """Collect what the denoiser returns during sampling, [batch, channel, row, column] a call."""
        return observed_predictions(self.pipe)

    def ablated(self, neurons: NeuronSet, by: By, is_guided: bool | None = None) -> AbstractContextManager[None]:
        """Ablate neurons while the context is open, as `flashbulb.hooks.ablate`."""
        return ablate(self.pipe, neurons, by, is_guided, self.guidance)

    def recorded(self, neurons: NeuronSet) -> AbstractContextManager[Recording]:
        """Record neurons while the context is open, as `flashbulb.hooks.record_neurons`."""
        return record_neurons(self.pipe, neurons, layout=self.guidance)

    def patched(self, recording: Recording) -> AbstractContextManager[None]:
        """Play a recording back while the context is open, as `flashbulb.hooks.patch`."""
        return patch(self.pipe, recording, layout=self.guidance)

    @contextmanager
    def frozen(self, checkpointing: bool = False) -> Iterator[None]:
        """Freeze all weights while the context is open, and restore them after it; gradients find them on the device.

        Args:
            checkpointing: recompute the denoiser's activations in the backward pass.
        """
        network = network_of(self.pipe)
        enables = checkpointing and not network.is_gradient_checkpointing
        with held_for_gradients(self.pipe):
            required = [(weight, weight.requires_grad) for part in parts_of(self.pipe) for weight in part.parameters()]
            try:
                for weight, _ in required:
                    weight.requires_grad_(False)
                if enables:
                    network.enable_gradient_checkpointing()
                yield
            finally:
                for weight, requires_grad in required:
                    weight.requires_grad_(requires_grad)
                if enables:
                    network.disable_gradient_checkpointing()

    @property
    def is_resident(self) -> bool:
        """Whether all weights lie on the device, rather than coming there when they run."""
        return all(weight.device == self.device for part in parts_of(self.pipe) for weight in part.parameters())

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        weights = [weight for part in parts_of(self.pipe) for weight in part.parameters()]
        return sum(tensor.numel() * tensor.element_size() for weight in weights for tensor in stored_tensors(weight))


def is_quantized(weight: Tensor) -> bool:
    """Return whether a weight is one of diffusers' reader of GGUF files, or of torchao."""
    return hasattr(weight, "quant_type") or hasattr(weight, "__tensor_flatten__")


def dense(weight: Tensor) -> Tensor:
    """Return a weight as the numbers that a layer computes with."""
    if hasattr(weight, "quant_type"):
        from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor  # needs gguf

        return torch.as_tensor(dequantize_gguf_tensor(weight))
    return weight.dequantize() if is_quantized(weight) else weight


def stored_tensors(weight: Tensor) -> list[Tensor]:
    """Return the plain tensors that a weight consists of: more than one for a weight of torchao."""
    if not hasattr(weight, "__tensor_flatten__"):
        return [weight]
    names, _ = weight.__tensor_flatten__()
    return [tensor for name in names for tensor in stored_tensors(getattr(weight, name))]


def public_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a component without those that libraries note for themselves, such as their version."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


def check_weights(folder: Path, network: Any) -> None:
    """Check the weights of a loaded network.

    Raises:
        UntrustedModel: one is not finite: it is broken, or float16 cannot hold it.
        ModelError: a quantized layer passes no gradient, as those whose input is quantized too.
    """
    for name, weight in network.named_parameters():
        numbers = dense(weight).detach()
        if not numbers.is_floating_point() or numbers.element_size() == 1:  # of another quantizer
            continue
        if numbers.sum(dtype=torch.float32).isfinite() or numbers.isfinite().all():  # a sum alone may overflow
            continue
        dtype = str(numbers.dtype).removeprefix("torch.")
        cure = "quantize it again" if is_quantized(weight) else "save the pipeline again"
        cure = cure if dtype == "float32" or is_quantized(weight) else f"pass --dtype float32, or {cure}"
        raise UntrustedModel(f"{folder} has weights that are not finite in {dtype}, first {name}; {cure}")
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear) and is_quantized(layer.weight):
            _check_gradient(folder, name, layer, network.dtype)


def _check_gradient(folder: Path, name: str, layer: nn.Linear, dtype: torch.dtype) -> None:
    """Refuse a layer whose gradient is not that of its weights: ascents and attributions would mislead."""
    wanted = dense(layer.weight).detach().to(dtype).sum(dim=0)
    inputs = torch.ones(1, layer.in_features, device=wanted.device, dtype=dtype, requires_grad=True)
    with refusing(folder), torch.enable_grad():
        output = layer(inputs)
        reaches = output.requires_grad  # that of the bias, too
        gradient = torch.autograd.grad(output.sum(), inputs, allow_unused=True)[0] if reaches else None
    if gradient is None or not (gradient - wanted).norm() <= _MOST_DEVIATION * wanted.norm():
        raise ModelError(
            f"{folder} is quantized such that no gradient passes {name}; quantize its weights alone, as "
            "Int8WeightOnlyConfig of torchao does, or give the network before it was quantized"
        )
