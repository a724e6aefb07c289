"""Sample prompts, with neurons ablated or not, and measure the response norm of every image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.calls import clip_skip_works, observed_predictions
from flashbulb.audit.model.sampling import sample_images
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.hooks import GuidanceLayout


class PromptSamples(NamedTuple):
    """Images of one prompt [seed, height, width, 3], and the response norm of each; None without guidance."""

    images: RgbImages
    response_norms: list[float | None]


def sample_and_measure(
    pipe: Any, prompts: Sequence[str], plan: SamplePlan, batch_size: int, **arguments: int
) -> list[PromptSamples]:
    """Sample every prompt with every seed of `plan`: one result per prompt.

    Args:
        batch_size: largest number of images in one call of `pipe`.
        arguments: further arguments of the call.
    """
    pairs = [(prompt, index) for prompt in prompts for index in range(plan.n_samples)]
    images: list[RgbImages] = []
    norms: list[float | None] = []
    for first in range(0, len(pairs), batch_size):
        texts, indices = zip(*pairs[first : first + batch_size], strict=True)
        with clip_skip_works(pipe), observed_predictions(pipe) as predictions:
            batch = sample_images(
                pipe,
                texts,
                indices,
                run_seed=plan.run_seed,
                num_inference_steps=plan.num_inference_steps,
                guidance_scale=plan.guidance_scale,
                **arguments,
            )
        images.append(batch)
        is_guided = pipe.do_classifier_free_guidance
        norms += response_norms(predictions[0]) if is_guided else [None] * len(batch)
    n = plan.n_samples
    images_by_prompt = np.split(np.concatenate(images), len(prompts))
    return [PromptSamples(chunk, norms[i * n : (i + 1) * n]) for i, chunk in enumerate(images_by_prompt)]


def response_norms(prediction: Tensor, layout: GuidanceLayout = GuidanceLayout.UNCONDITIONAL_FIRST) -> list[float]:
    """Return the norm of the response in a guided prediction [batch, channel, row, column], per image.

    The response is the conditional minus the unconditional output of the denoiser, in what the model was trained to
    predict: the text-conditional noise of Wen et al. (arXiv 2407.21720) in that step.
    """
    unconditional, conditional = layout.split(prediction.float(), is_guided=True)
    norms: list[float] = (conditional - unconditional).flatten(1).norm(dim=1).tolist()
    return norms
