"""Steps and sampled prompts on the toy pipeline, a linear model of known output, and a count of evaluations."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flashbulb.audit.detectors.views import NoiseSeeds, SampledPrompt, Step
from flashbulb.audit.model.conditioning import Conditioning, EncodedPrompts
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.families.stable_diffusion import StableDiffusion
from flashbulb.hooks.attention import observe_attention

PROMPTS = ("a red star", "the bakery of Ada Vasari", "")
FIRST_TIMESTEP = 981
BATCH_SIZE = 4


class LinearDenoiser(StableDiffusion):
    """Predicts slope · x; the slope is the prompt read as a number, and 0.5 for the empty prompt."""

    def encode(self, prompts):
        slopes = torch.tensor([float(prompt or 0.5) for prompt in prompts])
        conditioning = Conditioning({"slope": slopes[:, None, None, None]})
        return EncodedPrompts(tuple(prompts), {}, {}, lambda: (False,) * len(prompts), conditioning)

    def unconditional(self, n):
        return self.encode([""]).conditioning.repeat(n)

    def _evaluate(self, latents, timestep, conditioning):
        return conditioning.tensors["slope"] * latents

    def attention_layers(self):
        return {}


def evaluate(denoiser: Denoiser, prompts, n_seeds: int, timestep: float = FIRST_TIMESTEP) -> Step:
    """Return the step of `prompts`, with attention."""
    conditioning = denoiser.encode(list(prompts)).conditioning
    seeds = NoiseSeeds(denoiser, denoiser.initial_latents(0, range(n_seeds)), BATCH_SIZE)
    attention: dict[str, torch.Tensor] = {}

    def keep(layer: str, probabilities: torch.Tensor) -> None:
        attention[layer] = probabilities.mean(dim=(1, 2)).unflatten(0, (len(prompts), n_seeds))

    with torch.no_grad(), observe_attention(denoiser.attention_layers(), keep):
        latents = seeds.latents.repeat(len(prompts), 1, 1, 1)
        prediction = denoiser.predict(latents, timestep, conditioning.repeat(n_seeds))
    native, pull = (x.unflatten(0, (len(prompts), n_seeds)) for x in (prediction.native, prediction.pull))
    return Step(seeds, timestep, conditioning, native, pull, prediction.levels, attention)


@pytest.fixture
def toy_step(toy_pipe):
    """Evaluate prompts on the shared toy pipeline."""
    return lambda prompts=PROMPTS, n_seeds=3: evaluate(open_denoiser(toy_pipe), prompts, n_seeds)


@pytest.fixture
def linear_step(toy_pipe):
    """Evaluate slopes such as "2.5" on the linear model."""
    return lambda slopes, n_seeds=2: evaluate(LinearDenoiser(toy_pipe), slopes, n_seeds)


@pytest.fixture
def sampled():
    """Make a sampled prompt of `pipe` with `images`, by default random ones."""

    def make(pipe, prompt="a red star", n_images=3, images=None, generator_seed=0) -> SampledPrompt:
        denoiser = open_denoiser(pipe)
        if images is None:
            images = np.random.default_rng(0).integers(0, 256, (n_images, 16, 16, 3), dtype=np.uint8)
        return SampledPrompt(denoiser, images, denoiser.encode([prompt]), 1, generator_seed)

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
    """Count the UE that a detector adds to those of `step.native` and of the empty prompt at `shared_timesteps`."""

    def count(detector, step, shared_timesteps) -> int:
        for timestep in shared_timesteps:
            step.seeds.unconditional(timestep)
        with counted() as count:
            detector.measure(step)
        return count.n_evaluations

    return count
