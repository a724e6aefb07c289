"""Every file of a model is part of its fingerprint, and half-precision variants and shards are read whole."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from flashbulb.audit.additions.chosen import ChosenModel, load_chosen
from flashbulb.audit.model.errors import ModelError
from tests.audit.files.loras import assert_same
from tests.audit.files.single import checkpoint_of, configs_of
from tests.toy import TEXT_WIDTH, build_toy_pipe, build_toy_vae

Input = Callable[[Path, Path, float], ChosenModel]


def folder(base: Path, place: Path, value: float) -> ChosenModel:
    copy = Path(shutil.copytree(base, place / "copy", dirs_exist_ok=True))
    pipe = build_toy_pipe()
    pipe.unet.conv_out.bias.data.fill_(value)
    pipe.unet.save_pretrained(copy / "unet")
    return ChosenModel(str(copy))


def single_file(base: Path, place: Path, value: float) -> ChosenModel:
    if not (place / "configs").exists():
        configs_of(base, place / "configs")
    pipe = build_toy_pipe()
    pipe.unet.conv_out.bias.data.fill_(value)
    save_file(checkpoint_of(pipe), place / "model.safetensors")
    return ChosenModel(str(place / "model.safetensors"), place / "configs")


def autoencoder(base: Path, place: Path, value: float) -> ChosenModel:
    vae = build_toy_vae(8)
    for weight in vae.parameters():
        weight.data.fill_(value)
    vae.save_pretrained(place / "vae")
    return ChosenModel(str(base), vae=place / "vae")


def textual_inversion(base: Path, place: Path, value: float) -> ChosenModel:
    save_file({"<style>": torch.full((1, TEXT_WIDTH), value)}, place / "style.safetensors")
    return ChosenModel(str(base), textual_inversion=(str(place / "style.safetensors"),))


def lora(base: Path, place: Path, value: float) -> ChosenModel:
    width = build_toy_pipe().text_encoder.config.hidden_size
    names = ("text_encoder.encoder.layers.0.self_attn.q_proj.lora_A.weight",)
    factors = {names[0]: torch.full((1, width), value), names[0].replace("_A", "_B"): torch.ones(width, 1)}
    save_file(factors, place / "lora.safetensors")
    return ChosenModel(str(base), lora=(str(place / "lora.safetensors"),))


@pytest.mark.parametrize("make", [folder, single_file, autoencoder, textual_inversion, lora])
def test_the_fingerprint_is_that_of_the_content(base: Path, tmp_path: Path, make: Input) -> None:
    first = load_chosen(make(base, tmp_path, 0.25), "cpu", "float32").fingerprint
    other = load_chosen(make(base, tmp_path, 0.5), "cpu", "float32").fingerprint
    again = load_chosen(make(base, tmp_path, 0.25), "cpu", "float32").fingerprint
    assert first == again
    assert first != other
    plain = load_chosen(ChosenModel(str(base)), "cpu", "float32").fingerprint
    assert plain not in (first, other)


@pytest.mark.parametrize("how", [{"variant": "fp16"}, {"max_shard_size": "60KB"}], ids=["variant", "shards"])
def test_a_variant_and_shards_are_read_as_the_whole(tmp_path: Path, how: dict[str, str]) -> None:
    pipe = build_toy_pipe()
    pipe.to(torch.float16).save_pretrained(tmp_path, **how)
    for component in ("unet", "text_encoder"):
        files = {path.name for path in (tmp_path / component).glob("*.safetensors")}
        assert all(".fp16" in name for name in files) if "variant" in how else len(files) > 1
    assert_same(load_chosen(ChosenModel(str(tmp_path)), "cpu", "float32").pipe, pipe.to(torch.float32))


@pytest.mark.parametrize("component", ["unet", "text_encoder"])
@pytest.mark.parametrize(
    ("method", "cure"), [("torchao", r"pip install 'flashbulb\[torchao\]'"), ("bitsandbytes", "install")]
)
def test_weights_quantized_by_a_missing_library_are_refused_with_its_name(
    base: Path, tmp_path: Path, component: str, method: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, method, None)  # not installed, as far as an import can tell
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    path = copy / component / "config.json"
    quantized = {"quantization_config": {"quant_method": method, "quant_type": "int8wo"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | quantized))
    with pytest.raises(ModelError, match=f"quantized by {method}, which is not installed; {cure}.*, or dequantize"):
        load_chosen(ChosenModel(str(copy)), "cpu", "float32")
