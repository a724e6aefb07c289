"""Steps and sampled prompts on the toy pipeline, a linear model of known output, and a count of evaluations."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flashbulb.audit.detectors.views import NoiseSeeds, SampledPrompt, Step
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.hooks.attention import cross_attention_layers, observe_attention

PROMPTS = ("a red star", "the bakery of Ada Vasari", "")
FIRST_TIMESTEP = 981
BATCH_SIZE = 4


class LinearDenoiser(Denoiser):
    """Predicts slope · x; the slope is the prompt read as a number, and 0.5 for the empty prompt."""

    latent_shape = (4, 8, 8)

    def __init__(self) -> None:
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def tokenize(self, prompts):
        return prompts

    def embed(self, tokens):
        return torch.tensor([float(prompt or 0.5) for prompt in tokens])[:, None, None]

    def predict_noise(self, latents, timestep, prompt_embeds):
        return prompt_embeds[..., None] * latents


def evaluate(denoiser: Denoiser, prompts, n_seeds: int) -> Step:
    """Return the step of `prompts`, with attention if there is a UNet."""
    tokens = denoiser.tokenize(list(prompts))
    seeds = NoiseSeeds(denoiser, denoiser.initial_latents(0, range(n_seeds)), BATCH_SIZE)
    step = Step(seeds, FIRST_TIMESTEP, denoiser.embed(tokens), getattr(tokens, "classes", None), torch.empty(0), {})
    attention: dict[str, list[torch.Tensor]] = {}
    unet = denoiser.pipe.unet if hasattr(denoiser, "pipe") else torch.nn.Identity()
    with observe_attention(
        cross_attention_layers(unet),
        lambda name, probabilities: attention.setdefault(name, []).append(probabilities.mean(dim=(1, 2))),
    ):
        noise = step.predict(step.latents, FIRST_TIMESTEP, conditional=True)
    attention_by_layer = {name: torch.cat(chunks).unflatten(0, noise.shape[:2]) for name, chunks in attention.items()}
    return Step(seeds, FIRST_TIMESTEP, step.prompt_embeds, step.classes, noise, attention_by_layer)


@pytest.fixture
def toy_step(toy_pipe):
    """Evaluate prompts on the shared toy pipeline."""
    return lambda prompts=PROMPTS, n_seeds=3: evaluate(Denoiser(toy_pipe), prompts, n_seeds)


@pytest.fixture
def linear_step():
    """Evaluate slopes such as "2.5" on the linear model."""
    return lambda slopes, n_seeds=2: evaluate(LinearDenoiser(), slopes, n_seeds)


@pytest.fixture
def sampled():
    """Make a sampled prompt of `pipe` with `images`, by default random ones."""

    def make(pipe, prompt="a red star", n_images=3, images=None, generator_seed=0) -> SampledPrompt:
        denoiser = Denoiser(pipe)
        tokens = denoiser.tokenize([prompt])
        if images is None:
            images = np.random.default_rng(0).integers(0, 256, (n_images, 16, 16, 3), dtype=np.uint8)
        return SampledPrompt(denoiser, images, denoiser.embed(tokens), tokens.classes, 1, generator_seed)

    return make


@contextmanager
def _counted(pipe) -> Iterator[SimpleNamespace]:
    count = SimpleNamespace(n_evaluations=0)

    def add(_module, args, _output):
        count.n_evaluations += len(args[0])

    handle = pipe.unet.register_forward_hook(add)
    try:
        yield count
    finally:
        handle.remove()


@pytest.fixture
def counted(toy_pipe):
    """Count the latents that the shared toy pipeline's UNet evaluates: `with counted() as count`."""
    return lambda: _counted(toy_pipe)


@pytest.fixture
def count_evaluations(counted):
    """Count the UE that a detector adds to those of `step.noise` and of the empty prompt at `shared_timesteps`."""

    def count(detector, step, shared_timesteps) -> int:
        for timestep in shared_timesteps:
            step.seeds.unconditional(timestep)
        with counted() as count:
            detector.measure(step)
        return count.n_evaluations

    return count
