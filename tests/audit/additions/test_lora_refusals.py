"""A LoRA file that is torn, of another model, of another kind or not finite is refused in one line."""

import json

import pytest
import torch

from tests.audit.files.loras import RANK, load, lora_file, lora_weights, refusal, some_factors
from tests.toy_transformers import build_toy_sd3_pipe


def test_files_of_other_kinds_are_refused(base, tmp_path):
    assert "no file" in refusal(base, tmp_path / "nowhere.safetensors")
    pickled = tmp_path / "lora.bin"
    torch.save({}, pickled)
    assert "is no .safetensors file, and others can run code" in refusal(base, pickled)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"\x08\0\0\0\0\0\0\0{")
    assert "cannot be read" in refusal(base, torn)
    assert "holds no weights; download or save it again" in refusal(base, lora_file(tmp_path / "empty.safetensors", {}))
    path = lora_file(tmp_path / "lora.safetensors", {"a": torch.zeros(2)})
    for scale in ("much", "nan", "inf", "1e9"):
        assert f"{scale!r} is no scale" in refusal(base, f"{path}:{scale}")


def test_every_key_has_a_place(base, tmp_path, weights):
    path = tmp_path / "lora.safetensors"
    more = {"unet.no_such.lora_A.weight": torch.zeros(RANK, 4), "a\x1b[31m\nkey": torch.zeros(2)}
    lora_file(path, weights | more)
    line = refusal(base, path)
    assert f"holds 2 of {len(weights) + 2} keys that this StableDiffusionPipeline has no place for" in line
    assert "unet.no_such.lora_A.weight" in line
    assert "\x1b" not in line
    half = {key: tensor for key, tensor in weights.items() if key != sorted(weights)[0]}
    lora_file(path, half)
    assert "lacks the down weight of" in refusal(base, path)
    name = "unet.mid_block.attentions.0.proj_in"
    twice = {f"{name}.lora_down.weight": weights[f"{name}.lora_A.weight"].clone()}
    lora_file(path, weights | twice)
    assert "for one module; keep one of them" in refusal(base, path)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("lora_unet_conv_in.lokr_w1", "LoKr"),
        ("lora_unet_conv_in.hada_w1_a", "LoHa"),
        ("lora_unet_conv_in.dora_scale", "DoRA"),
        ("unet.conv_in.lora_magnitude_vector.weight", "DoRA"),
        ("lora_unet_conv_in.lora_mid.weight", "LyCORIS"),
        ("lora_unet_conv_in.diff", "LyCORIS"),
    ],
)
def test_other_kinds_of_adapters_have_to_be_merged_first(base, tmp_path, weights, key, kind):
    path = lora_file(tmp_path / "lora.safetensors", weights | {key: torch.zeros(2)})
    line = refusal(base, path)
    assert f"is a {kind} (1 keys such as {key})" in line
    assert "merge it into the model first" in line


def test_factors_of_another_model_are_refused(base, tmp_path, weights):
    path = tmp_path / "lora.safetensors"
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    for changed in (
        {f"{name}.lora_A.weight": torch.zeros(RANK, 1024)},
        {f"{name}.lora_B.weight": torch.zeros(7, RANK)},
        {f"{name}.lora_A.weight": torch.zeros(RANK + 1, 32)},
        {f"{name}.lora_A.weight": torch.zeros(0, 32), f"{name}.lora_B.weight": torch.zeros(64, 0)},
        {f"{name}.lora_A.weight": torch.zeros(())},
    ):
        lora_file(path, weights | changed)
        assert "was trained on this model" in refusal(base, path)
    other = some_factors(build_toy_sd3_pipe(), ("transformer",))
    line = refusal(base, lora_file(path, lora_weights(other)))
    assert "has no place for" in line
    assert refusal(base, lora_file(path, {"lora_unet_double_blocks_0_img_attn_qkv.alpha": torch.ones(())}))


def test_numbers_that_are_not_finite_are_refused_and_nothing_is_merged(base, tmp_path, weights):
    key = sorted(weights)[-1]
    for value in (float("nan"), float("inf")):
        path = lora_file(tmp_path / "lora.safetensors", weights | {key: torch.full_like(weights[key], value)})
        assert f"not finite, first in {key}" in refusal(base, path)
    path = lora_file(tmp_path / "lora.safetensors", {key: tensor * 300 for key, tensor in weights.items()})
    assert "overflow float16; give a smaller scale, or --dtype float32" in refusal(base, f"{path}:100", dtype="float16")
    lora_file(path, {key: tensor.to(torch.int8) for key, tensor in weights.items()})
    assert "as I8; only float16 to float64 are read" in refusal(base, path)
    alpha = {"unet.conv_in.alpha": torch.tensor(float("nan"))}
    assert "not finite" in refusal(base, lora_file(path, weights | alpha))
    alpha = {"unet.conv_in.alpha": torch.ones(2)}
    assert "it is one number" in refusal(base, lora_file(path, weights | alpha))


def test_a_lora_that_changes_no_weight_is_refused(base, tmp_path, weights):
    zero = {key: tensor * (".lora_A." in key) for key, tensor in weights.items()}  # as it is before its first step
    path = lora_file(tmp_path / "lora.safetensors", zero)
    assert "changes no weight of the model as float32: it was not trained" in refusal(base, path)
    alphas = {key.replace(".lora_A.weight", ".alpha"): torch.zeros(()) for key in weights if ".lora_A." in key}
    assert "its alpha or scale is too small" in refusal(base, lora_file(path, weights | alphas))
    lora_file(path, weights)
    assert "as float16" in refusal(base, f"{path}:1e-9", dtype="float16")
    first = min(key for key in weights if ".lora_B." in key)
    load(base, lora_file(path, zero | {first: weights[first]}))  # one trained layer is enough


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no object"),
        (json.dumps({"unet.use_dora": True}), "merge it into the model first"),
        (json.dumps({"unet.lora_alpha": "x"}), "is no number"),
        (json.dumps({"unet.lora_alpha": float("nan")}), "is no number"),
        (json.dumps({"unet.alpha_pattern": {"(a+)+$": 3}}), "merge it into the model first"),
        (json.dumps({"unet.alpha_pattern": [1]}), "merge it into the model first"),
    ],
)
def test_absurd_metadata_is_refused(base, tmp_path, weights, content, reason):
    path = lora_file(tmp_path / "lora.safetensors", weights, {"lora_adapter_metadata": content})
    assert reason in refusal(base, path)
