"""The denoiser of a GGUF file computes what its dequantized weights compute, or the file is refused."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

gguf = pytest.importorskip("gguf")

from flashbulb.audit.additions.chosen import ChosenModel, load_chosen  # noqa: E402
from flashbulb.audit.model.errors import ModelError, UntrustedModel  # noqa: E402
from flashbulb.audit.model.families import open_denoiser  # noqa: E402
from flashbulb.audit.model.network import is_quantized  # noqa: E402
from flashbulb.hooks import ablate  # noqa: E402
from flashbulb.hooks.trace import run_traced  # noqa: E402
from tests.audit.files.gguf import as_read, dequantized, sd3_weights, stability_weights, write_gguf  # noqa: E402
from tests.audit.files.loras import lora_file, lora_weights, some_factors  # noqa: E402
from tests.cases import slow_unless_in  # noqa: E402
from tests.hooks.edits import call_arguments, sample, some_neurons  # noqa: E402
from tests.refusals import refused_line  # noqa: E402
from tests.tolerances import ARITHMETIC  # noqa: E402
from tests.toy import build_toy_pipe, build_toy_xl_pipe  # noqa: E402
from tests.toy_transformers import build_toy_flux_pipe, build_toy_sd3_pipe  # noqa: E402

Weights = dict[str, torch.Tensor]
KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Weights]]] = {
    "Stable Diffusion 1": (build_toy_pipe, lambda unet: stability_weights(unet, "model.diffusion_model.")),
    "Stable Diffusion 2": (lambda: build_toy_pipe(use_linear_projection=True), stability_weights),
    "by the names of diffusers": (build_toy_pipe, lambda unet: unet.state_dict()),
    "Stable Diffusion XL": (build_toy_xl_pipe, stability_weights),
    "Stable Diffusion 3": (build_toy_sd3_pipe, sd3_weights),
    "Flux": (build_toy_flux_pipe, lambda transformer: transformer.state_dict()),
}
SAME_WITHIN = 1.3e-4  # diffusers dequantizes in float16


def denoiser_of(pipe: Any) -> Any:
    return getattr(pipe, "unet", None) or pipe.transformer


def load(folder: Path, file: Path, dtype: str = "float32", **added: Any) -> Any:
    return load_chosen(ChosenModel(str(folder), denoiser=file, **added), "cpu", dtype)


def refusal(folder: Path, file: Path, kind: type[Exception] = ModelError, **added: Any) -> str:
    return refused_line(kind, load, folder, file, **added)


def predict(pipe: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction, and its gradient with regard to what the denoiser reads of the prompt."""
    denoiser = open_denoiser(pipe)
    conditioning = denoiser.encode(["a red star"]).conditioning
    conditioning.tensors["prompt_embeds"].requires_grad_()
    predicted = denoiser.predict(denoiser.initial_latents(0, [0]), 501, conditioning).native
    (gradient,) = torch.autograd.grad(predicted.square().sum(), conditioning.tensors["prompt_embeds"])
    return predicted.detach(), gradient


@pytest.fixture
def weights() -> Weights:
    return stability_weights(build_toy_pipe().unet)


@pytest.mark.parametrize(
    ("name", "kind"),
    slow_unless_in(
        [("Stable Diffusion 1", "Q8_0"), ("Stable Diffusion XL", "Q8_0"), ("Stable Diffusion 3", "Q4_0")],
        [*((name, "Q8_0") for name in KINDS), *(("Stable Diffusion 3", kind) for kind in ("F16", "Q4_0", "BF16"))],
    ),
)
def test_a_file_computes_what_its_dequantized_weights_compute(tmp_path: Path, name: str, kind: str) -> None:
    build, named = KINDS[name]
    pipe = build()
    pipe.save_pretrained(tmp_path / "folder")
    for part in ("unet", "transformer"):
        for path in (tmp_path / "folder" / part).glob("*.safetensors"):
            path.unlink()  # the file stands for them
    file = write_gguf(tmp_path / "denoiser.gguf", named(denoiser_of(pipe)), kind)
    loaded = load(tmp_path / "folder", file).pipe
    held = denoiser_of(loaded)
    assert any(map(is_quantized, held.parameters())) == (kind != "F16")
    assert not held.training
    numbers = dequantized(held)
    for key, tensor in denoiser_of(pipe).state_dict().items():
        torch.testing.assert_close(numbers[key], as_read(tensor, kind).reshape(tensor.shape), rtol=0, atol=SAME_WITHIN)
    denoiser_of(pipe).load_state_dict(numbers)
    for ours, wanted in zip(predict(loaded), predict(pipe), strict=True):
        torch.testing.assert_close(ours, wanted)
        assert wanted.abs().max() > 0


def test_the_dtype_and_the_fingerprint_are_those_of_the_file(base: Path, tmp_path: Path, weights: Weights) -> None:
    file = write_gguf(tmp_path / "unet.gguf", weights, "Q8_0")
    loaded = load(base, file, "bfloat16")
    assert loaded.pipe.unet.dtype == torch.bfloat16
    (wanted, _), (ours, gradient) = predict(load(base, file).pipe), predict(loaded.pipe)
    assert (ours - wanted).norm() < 0.03 * wanted.norm()
    assert gradient.norm() > 0
    assert load(base, file).fingerprint == loaded.fingerprint
    plain = load_chosen(ChosenModel(str(base)), "cpu", "float32").fingerprint
    other = load(base, write_gguf(file, weights, "Q4_0")).fingerprint
    assert len({plain, other, loaded.fingerprint}) == 3


def test_weights_that_a_converter_reshaped_get_their_shape_back(base: Path, tmp_path: Path, weights: Weights) -> None:
    names = ("input_blocks.0.0.weight", "input_blocks.3.1.transformer_blocks.0.attn2.to_k.weight")
    flat = weights | {name: weights[name].reshape(-1, 32) for name in names}
    file = write_gguf(tmp_path / "unet.gguf", flat, "Q8_0", reshaped={name: weights[name].shape for name in names})
    held = dequantized(load(base, file).pipe.unet)
    keys = ("conv_in.weight", "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    for key, name in zip(keys, names, strict=True):
        wanted = as_read(flat[name], "Q8_0").reshape(weights[name].shape)
        torch.testing.assert_close(held[key], wanted, rtol=0, atol=SAME_WITHIN)
    write_gguf(file, flat, "Q8_0", reshaped={names[0]: (3, 7)})
    assert "cannot be read: shape '[3, 7]' is invalid" in refusal(base, file)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"out.2.weight": None},
            "lacks 1 weights of the UNet2DConditionModel that the folder describes, first conv_out",
        ),
        (
            {"out.2.weight": torch.zeros(4, 7, 3, 3)},
            "has conv_out.weight of shape [4, 7, 3, 3], the folder describes [4",
        ),
        (
            {prefix + "out.2.weight": torch.zeros(4, 32, 3, 3) for prefix in ("", "model.diffusion_model.")},
            "holds out.2.weight twice, with model.diffusion_model. and without",
        ),
        ({"first_stage_model.x": torch.zeros(2)}, "holds 1 weights that the UNet2DConditionModel of the folder has no"),
        ({"a\x1b[31m": torch.zeros(2)}, r"first a\x1b[31m; give a file of the denoiser alone"),
        (
            {"time_embed.0.bias": torch.full((64,), torch.nan)},
            "not finite in float32, first time_embedding.linear_1.bi",
        ),
        (
            {"time_embed.2.weight": torch.full((64, 64), torch.inf)},
            "first time_embedding.linear_2.weight; quantize it",
        ),
    ],
)
def test_a_file_of_other_weights_is_refused(base: Path, tmp_path: Path, weights: Weights, change, reason: str) -> None:
    changed = {name: tensor for name, tensor in (weights | change).items() if tensor is not None}
    file = write_gguf(tmp_path / "unet.gguf", changed, "Q8_0")
    assert reason in refusal(base, file, UntrustedModel if "finite" in reason or "quantize" in reason else ModelError)


def test_a_file_of_another_architecture_is_refused(base: Path, tmp_path: Path, weights: Weights) -> None:
    build_toy_sd3_pipe().save_pretrained(tmp_path / "sd3")
    file = write_gguf(tmp_path / "unet.gguf", weights, "Q8_0")
    assert "holds no weights that diffusers converts to a SD3Transformer2DModel" in refusal(tmp_path / "sd3", file)
    write_gguf(file, sd3_weights(build_toy_sd3_pipe().transformer) | {"more": torch.zeros(2)}, "Q8_0")
    assert "has no place for, first more" in refusal(tmp_path / "sd3", file)
    assert "lacks" in refusal(base, file)
    write_gguf(file, stability_weights(build_toy_xl_pipe().unet), "Q8_0")
    assert "has no place for, first label_emb.0.0.bias" in refusal(base, file)


def test_files_that_are_torn_or_of_another_kind_are_refused(base: Path, tmp_path: Path, weights: Weights) -> None:
    file = write_gguf(tmp_path / "unet.gguf", weights, "Q8_0")
    whole = file.read_bytes()
    for n_bytes in (0, 3, 30, 1000, len(whole) // 2, len(whole) - 40):
        file.write_bytes(whole[:n_bytes])
        assert "cannot be read" in refusal(base, file)
    assert "give the folder of its pipeline as model, and the file with --denoiser" in refusal(file, file)
    assert "no file" in refusal(base, tmp_path / "nowhere.gguf")
    (other := tmp_path / "unet.safetensors").write_bytes(b"never opened")
    assert "is no .gguf file" in refusal(base, other)
    assert "--denoiser belongs to a pipeline folder" in refusal(other, file)
    writer = gguf.GGUFWriter(file, "sd")
    writer.add_tensor("conv_in.bias", torch.zeros(32, dtype=torch.int32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "holds conv_in.bias as I32, which diffusers does not read" in refusal(base, file)


def test_edits_by_hooks_and_by_nnsight_are_the_same(base: Path, tmp_path: Path, weights: Weights) -> None:
    pipe = load(base, write_gguf(tmp_path / "unet.gguf", weights, "Q8_0")).pipe
    neurons = some_neurons(pipe)
    traced = run_traced(pipe, neurons, "zero", **call_arguments()).images
    with ablate(pipe, neurons, "zero"):
        torch.testing.assert_close(traced, sample(pipe), rtol=0, atol=ARITHMETIC)
    assert (traced - sample(pipe)).abs().max() > 1e-3


def test_a_lora_is_refused_where_weights_are_quantized_and_merged_where_not(
    base: Path, tmp_path: Path, weights: Weights
) -> None:
    file = write_gguf(tmp_path / "unet.gguf", weights, "Q8_0")
    text_lora, unet_lora = (
        str(lora_file(tmp_path / f"{part}.safetensors", lora_weights(some_factors(build_toy_pipe(), (part,)))))
        for part in ("text_encoder", "unet")
    )
    assert load(base, file, lora=(text_lora,)).fingerprint != load(base, file).fingerprint
    assert "which is quantized; a LoRA is merged into whole weights only" in refusal(base, file, lora=(unet_lora,))


@pytest.mark.parametrize("library", ["gguf", "accelerate"])
def test_a_missing_library_is_named_with_its_extra(base: Path, tmp_path: Path, library: str, monkeypatch) -> None:
    (file := tmp_path / "unet.gguf").write_bytes(b"never opened")
    monkeypatch.setitem(sys.modules, library, None)
    assert f"needs {library}: pip install 'flashbulb[gguf]'" in refusal(base, file)
