"""Networks that torchao quantized compute what their dequantized weights compute, or are refused."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import TorchAoConfig, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import CLIPTextModel
from transformers import TorchAoConfig as TextTorchAoConfig

quantization = pytest.importorskip("torchao.quantization")

from flashbulb.audit.model.errors import ModelError, UntrustedModel  # noqa: E402
from flashbulb.audit.model.families import open_denoiser  # noqa: E402
from flashbulb.audit.model.loading.pipelines import load_model  # noqa: E402
from flashbulb.audit.model.network import dense, is_quantized, stored_tensors  # noqa: E402
from flashbulb.hooks import ablate  # noqa: E402
from flashbulb.hooks.trace import run_traced  # noqa: E402
from tests.audit.files.loras import lora_file, lora_weights, refusal, some_factors  # noqa: E402
from tests.hooks.edits import call_arguments, sample, some_neurons  # noqa: E402
from tests.tolerances import ARITHMETIC  # noqa: E402
from tests.toy import build_toy_pipe  # noqa: E402

KINDS: dict[str, Callable[[], Any]] = {
    "int8": lambda: quantization.Int8WeightOnlyConfig(version=2),
    "int4": lambda: quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4),
    "float8": lambda: quantization.Float8WeightOnlyConfig(),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "toy"
    build_toy_pipe().save_pretrained(folder)
    return folder


def quantized(plain: Path, target: Path, config: Any) -> Path:
    """Copy a pipeline with its UNet quantized, as diffusers saves it."""
    copy = Path(shutil.copytree(plain, target))
    shutil.rmtree(copy / "unet")
    UNet2DConditionModel.from_pretrained(
        plain / "unet", quantization_config=TorchAoConfig(config), dtype=torch.float32
    ).save_pretrained(copy / "unet")
    return copy


def load(folder: Path) -> Any:
    return load_model(str(folder), device="cpu", dtype=torch.float32, allow_pickle=False).pipe


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_folder_computes_what_its_dequantized_weights_compute(
    plain: Path, tmp_path: Path, kind: str
) -> None:
    folder = quantized(plain, tmp_path / "toy", KINDS[kind]())
    pipe, wanted, untouched = load(folder), load(plain), load(plain)
    weights = dict(pipe.unet.named_parameters())
    assert any(map(is_quantized, weights.values()))
    wanted.unet.load_state_dict({name: dense(weight).detach() for name, weight in weights.items()})
    results = []
    for model in (pipe, wanted, untouched):
        denoiser = open_denoiser(model)
        with denoiser.frozen():
            conditioning = denoiser.encode(["a red star"]).conditioning
            embeds = conditioning.tensors["prompt_embeds"].requires_grad_()
            native = denoiser.predict(denoiser.initial_latents(0, [0]), 501, conditioning).native
            results.append((native.detach(), *torch.autograd.grad(native.square().sum(), embeds)))
    ours, same, other = results
    for own, dequantized, before in zip(ours, same, other, strict=True):
        torch.testing.assert_close(own, dequantized, rtol=1e-3, atol=1e-4)
        assert 0 < (dequantized - before).norm() < 0.2 * before.norm()


def test_bytes_and_hashes_are_those_of_the_stored_numbers(plain: Path, tmp_path: Path) -> None:
    pipe = load(quantized(plain, tmp_path / "toy", KINDS["int8"]()))
    denoiser, whole = open_denoiser(pipe), open_denoiser(load(plain))
    assert denoiser.weight_bytes < whole.weight_bytes
    sites = denoiser.sites(["cross_k"])
    before = denoiser.hash_text_side(sites)
    assert before != whole.hash_text_side(whole.sites(["cross_k"]))
    (layer,) = list(denoiser.modules(sites).values())[:1]
    numbers = stored_tensors(layer.weight)[0]
    numbers.bitwise_xor_(torch.ones_like(numbers))
    assert denoiser.hash_text_side(sites) != before


def test_edits_by_hooks_and_by_nnsight_are_the_same(plain: Path, tmp_path: Path) -> None:
    pipe = load(quantized(plain, tmp_path / "toy", KINDS["int8"]()))
    neurons = some_neurons(pipe)
    traced = run_traced(pipe, neurons, "zero", **call_arguments()).images
    with ablate(pipe, neurons, "zero"):
        torch.testing.assert_close(traced, sample(pipe), rtol=0, atol=ARITHMETIC)
    assert (traced - sample(pipe)).abs().max() > 1e-3


def test_a_quantized_text_encoder_is_loaded(plain: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(plain, tmp_path / "toy"))
    config = TextTorchAoConfig(KINDS["int8"]())
    encoder = CLIPTextModel.from_pretrained(plain / "text_encoder", quantization_config=config, dtype=torch.float32)
    shutil.rmtree(copy / "text_encoder")
    encoder.save_pretrained(copy / "text_encoder")
    ours, wanted = (open_denoiser(load(folder)).encode(["a red star"]).conditioning for folder in (copy, plain))
    ours, wanted = ours.tensors["prompt_embeds"], wanted.tensors["prompt_embeds"]
    assert 0 < (ours - wanted).norm() < 0.05 * wanted.norm()


def test_quantized_activations_are_refused_because_they_pass_no_gradient(plain: Path, tmp_path: Path) -> None:
    folder = quantized(plain, tmp_path / "toy", quantization.Int8DynamicActivationInt8WeightConfig(version=2))
    with pytest.raises(ModelError, match=r"such that no gradient passes time_embedding\.linear_1; quantize"):
        load(folder)


def test_torn_and_broken_quantized_weights_and_loras_are_refused(plain: Path, tmp_path: Path) -> None:
    folder = quantized(plain, tmp_path / "toy", KINDS["int8"]())
    lora = lora_file(tmp_path / "lora.safetensors", lora_weights(some_factors(build_toy_pipe(), ("unet",))))
    assert "which is quantized; a LoRA is merged into whole weights only" in refusal(folder, lora)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = next(name for name in weights if name.endswith("scale"))
    save_file(weights | {name: torch.full_like(weights[name], torch.nan)}, path, metadata)
    with pytest.raises(UntrustedModel, match=r"not finite in float32, first .*; quantize it again"):
        load(folder)
    save_file({key: weight for key, weight in weights.items() if key != name}, path, metadata)
    with pytest.raises(ModelError, match=r"cannot be loaded|lacks 1 weights"):
        load(folder)
