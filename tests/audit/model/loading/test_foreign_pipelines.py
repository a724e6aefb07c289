"""A pipeline that another task, library or tool saved is loaded as it would run there."""

import inspect
import json
import shutil
from functools import partial

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file

from flashbulb.audit.model.families import open_denoiser
from tests.audit.model.loading.folders import WEIGHTS, edit
from tests.audit.model.loading.loaded import assert_same_weights, edit_weights, load
from tests.cases import each_with_one
from tests.toy import MAX_POSITIONS, build_toy_pipe, build_toy_xl_pipe
from tests.toy_transformers import build_toy_sd3_pipe
from tests.toy_variants import INVERTED, build_bert_pipe, build_inverted_pipe, build_tiny_autoencoder


def test_an_absent_text_encoder_may_leave_its_tokenizer(tmp_path):
    pipe = build_toy_sd3_pipe(with_t5=True)
    pipe.save_pretrained(tmp_path)
    edit(tmp_path / "model_index.json", text_encoder_3=[None, None])
    loaded = load(tmp_path).pipe
    assert loaded.text_encoder_3 is None
    assert loaded.tokenizer_3 is not None


def test_a_folder_that_holds_only_a_variant_loads(tmp_path, toy_pipe):
    build_toy_pipe().to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    assert (tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors").is_file()
    assert_same_weights(load(tmp_path).pipe, toy_pipe, torch.float16)


def test_variants_may_differ_between_components_and_full_precision_is_preferred(folder, toy_pipe):
    path = folder / "unet" / WEIGHTS["unet"]
    shutil.copy(path, path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    edit_weights(path.with_name("diffusion_pytorch_model.fp16.safetensors"), lambda w: {k: t * 0 for k, t in w.items()})
    path = folder / "vae" / WEIGHTS["vae"]
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    (folder / "vae" / "LICENSE").write_text("a file without suffix")
    assert_same_weights(load(folder).pipe, toy_pipe)


def test_weights_with_the_names_of_older_libraries_load(folder, toy_pipe):
    def old_text_name(key: str) -> str:
        return key if key.startswith("text_model.") else f"text_model.{key}"

    def old_vae_name(key: str) -> str:
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            key = key.replace(f"attentions.0.{new}", f"attentions.0.{old}")
        return key

    ids = {"text_model.embeddings.position_ids": torch.arange(MAX_POSITIONS)[None]}
    edit_weights(
        folder / "text_encoder" / WEIGHTS["text_encoder"],
        lambda weights: {old_text_name(key): tensor for key, tensor in weights.items()} | ids,
    )
    edit_weights(
        folder / "vae" / WEIGHTS["vae"],
        lambda weights: {old_vae_name(key): tensor for key, tensor in weights.items()},
    )
    assert "encoder.mid_block.attentions.0.query.weight" in load_file(folder / "vae" / WEIGHTS["vae"])
    assert_same_weights(load(folder).pipe, toy_pipe)


def test_the_safety_checker_is_neither_read_nor_kept(folder, toy_pipe):
    edit(
        folder / "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
        requires_safety_checker=True,
    )
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "pytorch_model.bin").write_bytes(b"never opened")
    model = load(folder)
    assert model.pipe.safety_checker is None
    assert_same_weights(model.pipe, toy_pipe)


def test_a_tokenizer_without_a_length_gets_that_of_the_text_encoder(folder):
    path = folder / "tokenizer" / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["model_max_length"]
    path.write_text(json.dumps(settings))
    assert load(folder).pipe.tokenizer.model_max_length == MAX_POSITIONS


TASKS = ("Img2Img", "Inpaint", "ControlNet", "PAG")


@pytest.mark.parametrize(
    ("task", "build"),
    each_with_one(TASKS, [build_toy_pipe, partial(build_toy_xl_pipe, force_zeros_for_empty_prompt=False)]),
)
def test_a_text_to_image_model_saved_by_another_task_samples_from_text(build, tmp_path, task):
    pipe = build()
    saved = getattr(diffusers, type(pipe).__name__.replace("Pipeline", f"{task}Pipeline"))
    accepted = inspect.signature(saved).parameters
    parts = {name: part for name, part in pipe.components.items() if name in accepted and name != "image_encoder"}
    if task == "ControlNet":
        parts["controlnet"] = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(8, 16))
    switches = {"requires_safety_checker": False, "force_zeros_for_empty_prompt": False, "add_watermarker": False}
    parts |= {name: value for name, value in switches.items() if name in accepted}
    saved(**parts).save_pretrained(tmp_path)
    model = load(tmp_path)
    assert type(model.pipe) is type(pipe)
    assert_same_weights(model.pipe, pipe)
    settings = {"run_seed": 0, "num_inference_steps": 2, "guidance_scale": 3.0}
    found, expected = (open_denoiser(own).sample_prompts(["a red star"], [0], **settings) for own in (model.pipe, pipe))
    np.testing.assert_array_equal(found, expected)


def test_an_inversion_whose_vectors_were_saved_loads(tmp_path):
    pipe = build_inverted_pipe()
    pipe.save_pretrained(tmp_path)
    denoiser = open_denoiser(load(tmp_path).pipe)
    encoded = denoiser.encode(["<toy>"])
    assert denoiser.text.token_names(encoded.input_ids)[1 : 1 + len(INVERTED)] == list(INVERTED)
    assert torch.equal(
        encoded.conditioning.tensors["prompt_embeds"],
        open_denoiser(pipe).encode(["<toy>"]).conditioning.tensors["prompt_embeds"],
    )


def test_a_bert_text_encoder_and_a_tiny_autoencoder_load(tmp_path):
    pipe = build_bert_pipe(tmp_path)
    pipe.vae = build_tiny_autoencoder()
    pipe.save_pretrained(tmp_path / "model")
    loaded = load(tmp_path / "model").pipe
    assert_same_weights(loaded, pipe)
    prompts = ["ab c", "x" * 99]
    assert torch.equal(
        open_denoiser(loaded).encode(prompts).conditioning.tensors["prompt_embeds"],
        open_denoiser(pipe).encode(prompts).conditioning.tensors["prompt_embeds"],
    )
