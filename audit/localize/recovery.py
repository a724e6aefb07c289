"""Recovery from an ablated model, after Finding Dori (arXiv 2507.16880): is the memory gone, or one way to it closed?

The authors pruned the localized neurons; fifty steps on the prompt's embedding brought the images back. The same test
runs here: Adam moves the embedding until the ablated model denoises the image, then the embedding is sampled.
"""

from __future__ import annotations

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.localize.effects import EffectPlan, count_replicating
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.recover.strategies.known_image import KnownImagePlan, pull_out
from flashbulb.hooks import By, NeuronSet


def count_recovered_again(
    denoiser: Denoiser,
    prompt: str,
    memory: RgbImage,
    neurons: NeuronSet,
    by: By,
    recovery: KnownImagePlan,
    sampling: EffectPlan,
) -> int:
    """Optimise the prompt's embedding towards the memory, and count the samples that replicate it.

    The model is ablated throughout.
    """
    with denoiser.guided(), denoiser.ablated(neurons, by, is_guided=True):
        start = denoiser.encode([prompt]).conditioning
        pulled = pull_out(denoiser, memory[None], start, prompt, recovery)
    with denoiser.ablated(neurons, by):
        images = denoiser.sample(
            pulled.repeat(sampling.n_samples),
            [sample_generator(sampling.run_seed, f"again\n{prompt}", i) for i in range(sampling.n_samples)],
            num_inference_steps=sampling.num_inference_steps,
            guidance_scale=sampling.guidance_scale,
            batch_size=sampling.n_samples,
        )
    return count_replicating(images, memory)
