"""A single-file checkpoint is loaded whole, as diffusers loads it, or refused; its configs come from a folder."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from flashbulb.audit.additions.chosen import ChosenModel, ComposedModel, load_chosen
from flashbulb.audit.additions.released import vocabulary_files
from flashbulb.audit.model.errors import ModelError, UntrustedModel
from tests.audit.files.loras import assert_same
from tests.audit.files.single import checkpoint_of, configs_of
from tests.refusals import refused_line
from tests.toy import build_toy_pipe, build_toy_xl_pipe
from tests.toy_transformers import build_toy_sd3_pipe


class Saved(NamedTuple):
    """A checkpoint, and the folder of its configs."""

    file: Path
    configs: Path


def save(pipe: Any, folder: Path, **kind: bool) -> Saved:
    pipe.save_pretrained(folder / "whole")
    save_file(checkpoint_of(pipe, **kind), folder / "model.safetensors")
    return Saved(folder / "model.safetensors", configs_of(folder / "whole", folder / "configs"))


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    return save(build_toy_pipe(), tmp_path)


def load(saved: Saved, dtype: str = "float32") -> ComposedModel:
    return load_chosen(ChosenModel(str(saved.file), saved.configs), "cpu", dtype)


refusal = partial(refused_line, ModelError, load)


def edit(saved: Saved, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(saved.file)), saved.file)


@pytest.mark.parametrize(
    ("build", "pipeline", "kind"),
    [
        (build_toy_pipe, StableDiffusionPipeline, {}),
        (lambda: build_toy_pipe(use_linear_projection=True), StableDiffusionPipeline, {"open_clip": True}),
        (build_toy_xl_pipe, StableDiffusionXLPipeline, {}),
    ],
)
def test_a_checkpoint_equals_its_folder_and_what_diffusers_reads(tmp_path, build, pipeline, kind):
    pipe = build()
    saved = save(pipe, tmp_path, **kind)
    loaded = load(saved)
    assert_same(loaded.pipe, pipe)
    assert not loaded.pipe.unet.training
    assert loaded.name == str(saved.file)
    unread = {"safety_checker": None, "feature_extractor": None} if pipeline is StableDiffusionPipeline else {}
    theirs = pipeline.from_single_file(saved.file, config=str(saved.configs), local_files_only=True, **unread)
    for name in (
        "unet",
        "vae",
        "text_encoder",
    ):  # diffusers tells encoders by their widths
        wanted, held = theirs.components[name].state_dict(), loaded.pipe.components[name].state_dict()
        assert held.keys() == wanted.keys()
        assert all(torch.equal(tensor, wanted[key]) for key, tensor in held.items())


def test_the_dtype_is_that_of_the_audit_and_the_default_is_left_alone(saved):
    pipe = load(saved, "float16").pipe
    assert {weight.dtype for weight in pipe.unet.parameters()} == {torch.float16}
    assert torch.get_default_dtype() == torch.float32
    edit(saved, lambda weights: weights | {"model.diffusion_model.out.2.bias": torch.full((4,), 1e6)})
    with pytest.raises(UntrustedModel, match=r"not finite in float16, first conv_out\.bias"):
        load(saved, "float16")


def test_layers_that_the_text_encoder_leaves_out_are_not_missed(tmp_path):
    saved = save(build_toy_pipe(), tmp_path, open_clip=True)
    path = saved.configs / "text_encoder" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_hidden_layers": 1}))
    assert load(saved).pipe.text_encoder.config.num_hidden_layers == 1


def test_a_single_file_needs_the_configs_of_its_kind(saved, tmp_path):
    assert "is no checkpoint of stable-diffusion-1" in refusal(saved._replace(configs=None))
    assert "is neither a folder nor one of stable-diffusion-1" in refusal(saved._replace(configs=tmp_path / "nowhere"))
    (tmp_path / "clip").mkdir()
    for name, content in vocabulary_files(()).items():
        (tmp_path / "clip" / name).write_bytes(content)
    assert "is no checkpoint of stable-diffusion-1" in refusal(saved._replace(configs=tmp_path / "clip"))
    assert "--model-config belongs to a single file" in refusal(Saved(saved.configs, saved.configs))
    build_toy_sd3_pipe().save_pretrained(tmp_path / "sd3")
    assert "with --model-config a folder of its kind" in refusal(saved._replace(configs=tmp_path / "sd3"))
    build_toy_xl_pipe().save_pretrained(tmp_path / "xl")
    assert "with --model-config a folder of its kind" in refusal(saved._replace(configs=tmp_path / "xl"))


def test_configs_are_read_as_those_of_a_folder(saved):
    path = saved.configs / "unet" / "config.json"
    config = json.loads(path.read_text())
    for change, reason in (
        ({"auto_map": {"AutoModel": "mine.UNet"}}, "names code of its own"),
        ({"sample_size": 10**9}, "a side has 1 to"),
        ({"block_out_channels": [10**12, 64]}, "more than its weights can hold"),
    ):
        path.write_text(json.dumps(config | change))
        assert reason in refusal(saved)
    path.write_text(json.dumps(config))
    schedule = saved.configs / "scheduler" / "scheduler_config.json"
    schedule.write_text(json.dumps({**json.loads(schedule.read_text()), "beta_end": 0, "beta_start": 0}))
    with pytest.raises(UntrustedModel):
        load(saved)


def test_files_that_are_torn_of_another_kind_or_incomplete_are_refused(saved, tmp_path):
    whole = saved.file.read_bytes()
    for n_bytes in (0, 100, len(whole) // 2, len(whole) - 1):
        saved.file.write_bytes(whole[:n_bytes])
        assert "cannot be read" in refusal(saved)
    saved.file.write_bytes(whole)
    for suffix in (".ckpt", ".bin"):
        other = tmp_path / f"model{suffix}"
        other.write_bytes(b"never opened")
        assert "is no .safetensors file; convert it" in refusal(saved._replace(file=other))
    lost = "model.diffusion_model.out.2.weight"
    edit(saved, lambda weights: {key: tensor for key, tensor in weights.items() if key != lost})
    assert "lacks 1 weights of the unet" in refusal(saved)
    saved.file.write_bytes(whole)
    edit(saved, lambda weights: {key: tensor for key, tensor in weights.items() if not key.startswith("first_stage")})
    assert "holds no first_stage_model.… weights" in refusal(saved)


@pytest.mark.parametrize(
    ("key", "tensor", "reason"),
    [
        ("model.diffusion_model.out.2.weight", torch.zeros(4, 7, 3, 3), "of shape [4, 7, 3, 3]"),
        ("model.diffusion_model.out.2.weight", torch.zeros(()), "of shape []"),
        ("model.diffusion_model.out.2.weight", torch.zeros(4, 32, 3, 3, dtype=torch.int8), "as I8"),
        ("model.diffusion_model.input_hint.0.weight", torch.zeros(2), "1 weights that the pipeline has no place for"),
        ("lora_unet_conv_in.lora_up.weight", torch.zeros(2), "1 weights that the pipeline has no place for"),
        ("a\x1b[31m\nkey", torch.zeros(2), r"first a\x1b[31m\nkey"),
    ],
)
def test_weights_without_a_place_or_of_another_shape_are_refused(saved, key, tensor, reason):
    edit(saved, lambda weights: weights | {key: tensor})
    assert reason in refusal(saved)


@pytest.mark.parametrize("tensor", [torch.zeros(()), torch.zeros(0), torch.zeros(97, 32), torch.zeros(2, 2, 2)])
def test_joined_weights_of_another_shape_are_refused(tmp_path, tensor):
    saved = save(build_toy_pipe(), tmp_path, open_clip=True)
    for key in ("transformer.resblocks.0.attn.in_proj_weight", "positional_embedding"):
        whole = saved.file.read_bytes()
        edit(saved, lambda weights, key=key: weights | {f"cond_stage_model.model.{key}": tensor})
        assert "of shape" in refusal(saved)
        saved.file.write_bytes(whole)


def test_the_fingerprint_depends_on_the_file_and_the_configs(saved):
    before = load(saved).fingerprint
    path = saved.configs / "scheduler" / "scheduler_config.json"
    text = path.read_text()
    path.write_text(text + " ")
    assert load(saved).fingerprint != before
    path.write_text(text)
    assert load(saved).fingerprint == before
    (saved.configs / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"never opened")
    assert load(saved).fingerprint == before
    edit(saved, lambda weights: weights | {"betas": torch.ones(3)})
    assert load(saved).fingerprint != before
