"""Calls that a pipeline makes to its denoiser: stop at the first, count them, or read what they return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flashbulb.audit.model.errors import ModelError, one_line


class _Called(Exception):  # noqa: N818
    """Carries the arguments of a call out of the pipeline that made it."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments


def network_of(pipe: Any) -> Any:
    """Return the pipeline's denoiser, a UNet or a transformer."""
    return getattr(pipe, "unet", None) or pipe.transformer


def embeds_guidance(pipe: Any) -> bool:
    """Return whether a distilled denoiser reads the guidance scale, so that the empty prompt is never evaluated."""
    return getattr(network_of(pipe).config, "time_cond_proj_dim", None) is not None


def first_call(pipe: Any, **arguments: Any) -> Mapping[str, Any]:
    """Run `pipe(**arguments)` until it calls its denoiser, and return the call's arguments by keyword.

    The denoiser does not run. Gradients flow: the function under the pipeline's `no_grad` is called.
    """
    network = network_of(pipe)
    parameters = list(inspect.signature(network.forward).parameters)

    def stop(_module: nn.Module, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        raise _Called({**dict(zip(parameters, args, strict=False)), **keywords})

    handle = network.register_forward_pre_hook(stop, with_kwargs=True, prepend=True)
    try:
        with clip_skip_works(pipe):
            inspect.unwrap(type(pipe).__call__)(pipe, **arguments)
    except _Called as called:
        return called.arguments
    finally:
        handle.remove()
    raise AssertionError(f"{type(pipe).__name__} never called its denoiser")


@torch.no_grad()
def planned_timesteps(pipe: Any, num_inference_steps: int, **arguments: Any) -> tuple[float, ...]:
    """Return the timestep of every call to the denoiser in `pipe(num_inference_steps=…)`, as its scheduler has them.

    The pipeline's own call plans them: their number can differ from `num_inference_steps`, such as 19 for 10 steps of
    Heun, and some depend on the size of the image.

    Raises:
        ModelError: the scheduler cannot plan so many steps, as one of latent consistency not more than 50.
    """
    try:
        first_call(pipe, prompt="", num_inference_steps=num_inference_steps, output_type="latent", **arguments)
    except ValueError as error:
        scheduler, reason = type(pipe.scheduler).__name__, one_line(error)
        line = f"{scheduler} cannot plan {num_inference_steps} steps: {reason}; give another number of --sample-steps"
        raise ModelError(line) from error
    return tuple(float(timestep) for timestep in pipe.scheduler.timesteps)


def check_clip_skip(pipe: Any, clip_skip: int | None) -> None:
    """Refuse to leave out layers of a text encoder where the pipeline cannot, or where no layer would be left.

    Raises:
        ModelError: the pipeline has no such argument, its text encoder is no CLIP, or has too few layers.
    """
    if clip_skip is None:
        return
    accepts = "clip_skip" in inspect.signature(type(pipe).__call__).parameters
    encoder: Any = getattr(pipe, "text_encoder", None)
    if not accepts or not type(encoder).__name__.startswith("CLIPText"):
        raise ModelError(
            f"{type(pipe).__name__} leaves out no layers of a {type(encoder).__name__}; run it without --clip-skip"
        )
    n_layers = encoder.config.num_hidden_layers
    if clip_skip >= n_layers:
        raise ModelError(f"--clip-skip {clip_skip} leaves none of the text encoder's {n_layers} layers; give less")


@contextmanager
def clip_skip_works(pipe: Any) -> Iterator[None]:
    """Let a pipeline leave out layers of its text encoder while the context is open.

    diffusers 0.42 applies the final norm of `text_encoder.text_model`, whose contents transformers 5 moved into the
    text encoder itself. An encoder without that name gets it, and no other encoder, which another thread may audit.
    """
    encoder = getattr(pipe, "text_encoder", None)
    if hasattr(encoder, "text_model") or not hasattr(encoder, "final_layer_norm"):
        yield
        return
    own = vars(encoder)  # an attribute that is set would be registered as a part
    own["text_model"] = encoder
    try:
        yield
    finally:
        del own["text_model"]


@contextmanager
def counted_latents(pipe: Any, on_call: Callable[[int], None]) -> Iterator[None]:
    """Call `on_call` with the number of latents of every evaluation of the denoiser while the context is open."""

    def count(_module: nn.Module, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        on_call(len(next(iter((*args, *keywords.values())))))

    handle = network_of(pipe).register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def observed_predictions(pipe: Any) -> Iterator[list[Tensor]]:
    """Collect what the denoiser returns while the context is open, [batch, channel, row, column] a call."""
    predictions: list[Tensor] = []

    def keep(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        predictions.append(output[0])

    handle = network_of(pipe).register_forward_hook(keep)
    try:
        yield predictions
    finally:
        handle.remove()
