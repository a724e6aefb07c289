"""Sample prompts through a pipeline as it is or with neurons ablated, and measure the first step of each picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from audit.evidence import Pictures
from audit.recover.sample import SamplePlan
from audit.sampling import sample_pictures
from hooks import By, NeuronSet, ablate, capture
from hooks.response import split_guidance
from hooks.trace import run_traced

Call = Callable[..., Any]
"""A pipeline, or what is called like one."""


class Sampled(NamedTuple):
    """What one prompt gave: pictures [seed, height, width, 3], and by seed the text-conditional noise, if guided."""

    pictures: Pictures
    noise: list[float | None]


def ablated_pipe(pipe: Any, neurons: NeuronSet, by: By, engine: Literal["hooks", "nnsight"]) -> Call:
    """The call of `pipe` with `neurons` ablated by plain hooks or through nnsight."""

    def call(**given: Any) -> Any:
        if engine == "nnsight":
            return run_traced(pipe, neurons, by, **given)
        with ablate(pipe, neurons, by):
            return pipe(**given)

    return call


def sample_seeds(pipe: Any, call: Call, prompts: Sequence[str], plan: SamplePlan, batch_size: int) -> list[Sampled]:
    """Sample every prompt at every seed of `plan` through `call`, which runs `pipe`: one result a prompt.

    Args:
        batch_size: pictures in one call, at most.
    """
    wanted = [(prompt, index) for prompt in prompts for index in range(plan.n_samples)]
    pictures: list[Pictures] = []
    noise: list[float | None] = []
    for first in range(0, len(wanted), batch_size):
        texts, indices = zip(*wanted[first : first + batch_size], strict=True)
        with capture({"prediction": pipe.unet.conv_out}) as captured:
            of_call = sample_pictures(
                call,
                texts,
                indices,
                run_seed=plan.run_seed,
                num_inference_steps=plan.num_inference_steps,
                guidance_scale=plan.guidance_scale,
            )
        pictures.append(of_call)
        is_guided = pipe.do_classifier_free_guidance
        noise += text_conditional_noise(captured["prediction"][0]) if is_guided else [None] * len(of_call)
    of_prompts = np.split(np.concatenate(pictures), len(prompts))
    n = plan.n_samples
    return [Sampled(of_prompt, noise[i * n : (i + 1) * n]) for i, of_prompt in enumerate(of_prompts)]


def text_conditional_noise(prediction: Tensor) -> list[float]:
    """How far the prompt moves a guided prediction [batch, channel, row, column], by picture.

    The norm of the conditional minus the unconditional prediction (Wen et al., arXiv 2407.21720), of whatever the
    model was trained to predict.
    """
    unconditional, conditional = split_guidance(prediction.float(), is_guided=True)
    norms: list[float] = (conditional - unconditional).flatten(1).norm(dim=1).tolist()
    return norms
