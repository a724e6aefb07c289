"""An offloaded model, whose weights are on no device until they run, gives the results of the loaded one."""

import accelerate
import numpy as np
import pytest
import torch
from torch import nn

from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import over_space, record
from tests.toy import build_toy_pipe, build_toy_xl_pipe
from tests.toy_transformers import build_toy_sd3_pipe

PROMPTS = ["a red star", "жар-птица"]


def offloaded(pipe):
    """As `enable_sequential_cpu_offload` does where there is a GPU: weights come to the device module by module."""
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            accelerate.cpu_offload(part, torch.device("cpu"), offload_buffers=len(part._parameters) > 0)
    return open_denoiser(pipe)


BUILDERS = {"sd": build_toy_pipe, "sdxl": build_toy_xl_pipe, "sd3": lambda: build_toy_sd3_pipe(with_t5=True)}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_offloaded_model_gives_the_results_of_the_loaded_one(build):
    loaded, away = open_denoiser(build()), offloaded(build())
    assert next(away.pipe.vae.parameters()).device.type == "meta"
    assert away.device.type == "cpu"

    def results(denoiser):
        encoded = denoiser.encode(PROMPTS)
        latents, timestep = denoiser.initial_latents(0, [0, 1]), denoiser.first_timestep(2)
        sites = denoiser.sites(["feed_forward"])
        rows = record(
            denoiser.modules(sites),
            sites,
            lambda: denoiser.predict(latents, timestep, encoded.conditioning),
            over_space,
        )
        images = denoiser.sample_prompts(PROMPTS, [0, 1], run_seed=0, num_inference_steps=2, guidance_scale=3.0)
        embeddings = {name: x.clone().requires_grad_() for name, x in denoiser.token_embeddings(encoded).items()}
        with denoiser.frozen():
            native = denoiser.predict(latents, timestep, denoiser.encode_from(embeddings, encoded)).native
            gradients = torch.autograd.grad(native.sum(), list(embeddings.values()))
        decoded = denoiser.decode_latents(denoiser.encode_images(images))
        return [*rows.values(), *gradients], [images, decoded]

    tensors, images = results(loaded)
    tensors_away, images_away = results(away)
    assert all(torch.equal(a, b) for a, b in zip(tensors, tensors_away, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(images, images_away, strict=True))
