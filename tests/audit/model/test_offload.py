"""An offloaded model, whose weights are on no device until they run, gives the results of the loaded one."""

from dataclasses import replace

import accelerate
import numpy as np
import pytest
import torch
from torch import nn

from flashbulb.audit.additions.chosen import ChosenModel, load_chosen, only_adds_loras
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import over_space, record
from flashbulb.hooks.offload import OFFLOADS, offload_
from tests.cases import each_with_one
from tests.toy import build_toy_pipe, build_toy_xl_pipe
from tests.toy_transformers import build_toy_sd3_pipe

PROMPTS = ["a red star", "жар-птица"]
BUILDERS = {"sd": build_toy_pipe, "sdxl": build_toy_xl_pipe, "sd3": lambda: build_toy_sd3_pipe(with_t5=True)}


def offloaded(pipe, how):
    """Offload to the host memory what runs in the host memory: all is moved, or at least called, as on a GPU."""
    if how != "sequential":
        offload_(pipe, "cpu", how)
    for part in pipe.components.values():
        if how == "sequential" and isinstance(part, nn.Module):  # accelerate fails at the index of diffusers' "cpu:0"
            accelerate.cpu_offload(part, torch.device("cpu"), offload_buffers=len(part._parameters) > 0)
    return open_denoiser(pipe)


@pytest.mark.parametrize(("how", "name"), each_with_one(OFFLOADS, BUILDERS))
def test_offloaded_model_gives_the_results_of_the_loaded_one(name, how):
    loaded, away = open_denoiser(BUILDERS[name]()), offloaded(BUILDERS[name](), how)
    assert how != "sequential" or next(away.pipe.vae.parameters()).device.type == "meta"
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


@pytest.mark.parametrize("how", ["model", "group"])
def test_nothing_moves_weights_while_gradients_flow(how):
    """Of either kind, a module's weights leave the device after its forward pass; its backward pass needs them."""
    denoiser = offloaded(build_toy_pipe(), how)

    def moved():
        own = [m for m in denoiser.pipe.unet.modules() if hasattr(m, "_hf_hook")]
        registries = [m._diffusers_hook for m in denoiser.pipe.unet.modules() if hasattr(m, "_diffusers_hook")]
        return len(own) + sum(len(registry.hooks) for registry in registries)

    before = moved()
    assert before
    with denoiser.frozen():
        assert moved() == 0
    assert moved() == before


@pytest.mark.parametrize("how", OFFLOADS)
def test_offload_is_refused_where_it_saves_nothing(how, tmp_path):
    with pytest.raises(ModelError, match=f"--offload {how} saves memory of an accelerator, and the device is the cpu"):
        load_chosen(ChosenModel(str(tmp_path), offload=how), "cpu", "float32")


def test_base_of_an_offloaded_model_with_loras_is_loaded_by_itself(tmp_path):
    """A LoRA is switched off in place by writing weights, which offloading moves at the same time."""
    settings = ChosenModel(str(tmp_path), lora=("style.safetensors",))
    assert only_adds_loras(settings, str(tmp_path))
    assert not only_adds_loras(replace(settings, offload="group"), str(tmp_path))
