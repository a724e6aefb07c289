"""Separate the response to the prompt from the response to the empty prompt, while a pipeline runs."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from flashbulb.hooks.capture import observe
from flashbulb.hooks.embeddings import input_embeddings, read_tokens
from flashbulb.hooks.guidance import GuidanceLayout, GuidedBatch
from flashbulb.hooks.sites import Site, site_modules

_OF_MORE_PARTS = ("InstructPix2Pix", "LEdits", "SemanticStableDiffusion", "StableDiffusionPipelineSafe", "DreamLite")
"""Parts of the names of pipelines whose guided batch is not of two halves, with the prompt's last."""

ComputeReplacement = Callable[[Site, Tensor], Tensor]
"""Computes the values that replace the selected neurons, from a site and its activation [batch, position, neuron].

The result is broadcastable to [batch, position, selected].
"""


class Response:
    """The response of a pipeline to its prompt, at sites of the denoiser and at sites of text encoders.

    In the denoiser the response is the conditional half of a guided batch, and the complete batch without guidance. A
    text encoder encodes the prompt and the negative prompt in separate calls that look alike. They are told apart by
    the empty prompt, which is the default negative prompt: a row with exactly its tokens is not a response. A
    negative prompt with words in it counts as a prompt.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        sites: Sequence[Site],
        is_guided: bool | None = None,
        layout: GuidanceLayout | None = None,
    ) -> None:
        """Encode the empty prompt once, if any of `sites` is in a text encoder.

        Args:
            is_guided: True if the denoiser's batches are guided; None asks the pipeline at each firing.
            layout: of guided batches; None is that of every pipeline with a UNet.

        Raises:
            ValueError: no layout is given for a pipeline without a UNet, or for one whose batches have more parts.
        """
        if layout is None and not hasattr(pipe, "unet"):
            raise ValueError(
                f"the layout of guided batches of {type(pipe).__name__} is unknown; pass layout=, which is "
                "flashbulb.open_denoiser(pipe).guidance"
            )
        if layout is None and is_guided is None and any(name in type(pipe).__name__ for name in _OF_MORE_PARTS):
            raise ValueError(
                f"{type(pipe).__name__} guides by more than a prompt and the empty prompt, so which rows respond to "
                "the prompt is unknown; use the pipeline of diffusers that samples from text alone"
            )
        self._layout = layout or GuidanceLayout.UNCONDITIONAL_FIRST
        self._pipe, self._guided = pipe, is_guided
        text_sites = [site for site in sites if site.is_in_text_encoder]
        self._encoders: dict[str, nn.Module] = {site.component: getattr(pipe, site.component) for site in text_sites}
        self._empty_ids: dict[str, Tensor] = {}  # [1, position] by component
        self._empty_activations: dict[str, Tensor] = {}  # [1, position, neuron] by site.name
        self._is_prompt: dict[str, Tensor] = {}  # [batch, 1, 1] by component
        if text_sites:
            self._encode_empty_prompt(text_sites)

    @torch.no_grad()
    def _encode_empty_prompt(self, text_sites: Sequence[Site]) -> None:
        def keep(site: Site, activation: Tensor) -> None:
            self._empty_activations[site.name] = activation

        modules = site_modules(self._pipe, text_sites)
        with read_tokens(self._encoders) as input_ids, observe(modules, text_sites, keep):
            accepted = inspect.signature(self._pipe.encode_prompt).parameters
            arguments = {
                "prompt": "",
                "prompt_2": None,  # read as the first
                "prompt_3": None,
                "device": self._pipe._execution_device,  # of the denoiser's inputs, also under offload
                "num_images_per_prompt": 1,
                "do_classifier_free_guidance": False,
            }
            self._pipe.encode_prompt(**{name: value for name, value in arguments.items() if name in accepted})
        self._empty_ids = {component: ids for component, (ids,) in input_ids.items()}

    @property
    def embeddings(self) -> list[tuple[str, nn.Module]]:
        """Input embeddings of the text encoders that have sites, each with its encoder's name."""
        return [
            (name, embedding) for name, encoder in self._encoders.items() for embedding in input_embeddings(encoder)
        ]

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Follow the tokens that the text encoders receive, with plain hooks on their input embeddings."""

        def on_input(component: str, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
            self.begin_encode(component, args[0])

        with ExitStack() as stack:
            for component, embedding in self.embeddings:
                stack.callback(embedding.register_forward_pre_hook(partial(on_input, component)).remove)
            yield

    def begin_encode(self, component: str, input_ids: Tensor) -> None:
        """Record which rows of the tokens [batch, position] that a text encoder starts to encode are prompts."""
        empty_ids = self._empty_ids[component].to(input_ids.device)  # [1, position]
        if input_ids.shape[1] == empty_ids.shape[1]:
            is_prompt = (input_ids != empty_ids).any(dim=1)
        else:
            is_prompt = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
        self._is_prompt[component] = is_prompt[:, None, None]  # [batch] -> [batch, 1, 1]

    def select(self, site: Site, activation: Tensor) -> Tensor | None:
        """Return the rows that respond to the prompt; None if a text encoder encodes only empty prompts.

        The rows are the conditional half of a guided batch, otherwise the complete batch.
        """
        if not site.is_in_text_encoder:
            return self._layout.split(activation, self._is_guided).conditional
        return activation if self._is_prompt[site.component].any() else None

    def replace(self, site: Site, selected: Tensor, values: Tensor) -> Tensor:
        """Return `selected` with `values` in the rows that respond to the prompt.

        Args:
            selected: [batch, position, selected], activations of the selected neurons.
            values: broadcastable to the rows of `selected` that respond to the prompt.
        """
        values = values.to(selected)
        if not site.is_in_text_encoder:
            unconditional, conditional = self._layout.split(selected, self._is_guided)
            return self._layout.join(GuidedBatch(unconditional, values.expand_as(conditional)))
        return torch.where(self._is_prompt[site.component].to(selected.device), values, selected)

    def unconditional(self, site: Site, activation: Tensor) -> Tensor:
        """Return the unconditional half, or in a text encoder the empty prompt's activation [1, position, neuron].

        Raises:
            ValueError: the denoiser runs without guidance.
        """
        if site.is_in_text_encoder:
            return self._empty_activations[site.name]
        if not self._is_guided:
            raise ValueError(
                "ablating by the unconditional activation needs guidance; "
                'call the pipeline with guidance_scale above 1, or ablate by "mean" or "zero"'
            )
        return self._layout.split(activation, True).unconditional

    @property
    def _is_guided(self) -> bool:
        guided = self._guided
        if guided is None and getattr(self._pipe, "do_perturbed_attention_guidance", False):
            raise ValueError(
                f"{type(self._pipe).__name__} adds perturbed rows to every batch, so which rows respond to the prompt "
                "is unknown; call it with pag_scale=0"
            )
        if guided is None:
            guided = getattr(self._pipe, "do_classifier_free_guidance", None)
        if guided is None and not hasattr(type(self._pipe), "do_classifier_free_guidance"):
            raise ValueError(f"{type(self._pipe).__name__} does not say if its batch is guided; pass is_guided")
        if guided is None:  # diffusers sets the scale at the start of the pipeline's own call
            raise ValueError(
                f"{type(self._pipe).__name__} has not been called, so it is unknown if the batch is guided; "
                "call the pipeline, not its denoiser"
            )
        return bool(guided)
