"""A folder that is no model, or a broken one, is refused in one line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from flashbulb.audit.model.errors import ModelError, UntrustedModel, refusing
from flashbulb.audit.model.loading.pipelines import load_model
from tests.audit.model.loading.folders import WEIGHTS, edit
from tests.audit.model.loading.loaded import NETWORKS, assert_same_weights, edit_weights, load, make_pickles, refusal
from tests.toy import build_toy_pipe
from tests.toy_variants import build_refiner_pipe


def test_a_missing_folder_a_file_and_another_folder_are_refused(tmp_path):
    assert "no model folder" in refusal(tmp_path / "nowhere")
    assert "no model folder" in refusal("./nowhere")
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    assert "is a file; give the folder" in refusal(file)
    assert "has no model_index.json; give the folder of a diffusers pipeline" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "null", "\x00"])
def test_a_broken_index_is_refused(folder, text):
    (folder / "model_index.json").write_text(text)
    assert "model_index.json" in refusal(folder)


def test_other_architectures_are_refused_by_name(folder):
    other = {
        "_class_name": "PixArtAlphaPipeline",
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "PixArtTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(other))
    assert (
        "is a PixArtAlphaPipeline with scheduler, text_encoder, tokenizer, transformer, vae, whose denoiser is "
        "diffusers.PixArtTransformer2DModel, of no family that Flashbulb audits: " in refusal(folder)
    )
    edit(folder / "model_index.json", transformer=[None, None], unet="UNet2DConditionModel")
    assert "without a denoiser, of no family" in refusal(folder)


@pytest.mark.parametrize("name", ["vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_family_without_one_of_its_components_is_refused(folder, name):
    edit(folder / "model_index.json", **{name: [None, None]})
    assert f", without {name}; Flashbulb audits Stable Diffusion 1/2 with all of " in refusal(folder)


@pytest.mark.parametrize("name", [*NETWORKS, "tokenizer", "scheduler"])
def test_a_missing_component_is_refused(folder, name):
    shutil.rmtree(folder / name)
    assert "save the pipeline again" in refusal(folder)


def test_a_tokenizer_without_vocabulary_is_refused(folder):
    (folder / "tokenizer" / "tokenizer.json").unlink()
    assert "tokenizer holds no vocabulary" in refusal(folder)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_that_are_torn_or_lack_a_tensor_are_refused(folder, name):
    path = folder / name / WEIGHTS[name]
    whole = path.read_bytes()
    for n_bytes in (0, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n_bytes])
        assert f"{folder / name} cannot be loaded" in refusal(folder)
    path.write_bytes(whole)
    lost = sorted(load_file(path))[5]
    edit_weights(path, lambda weights: {key: tensor for key, tensor in weights.items() if key != lost})
    assert f"{folder / name} lacks 1 weights, first" in refusal(folder)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_that_are_not_finite_are_refused_by_name(folder, name):
    path = folder / name / WEIGHTS[name]
    key = sorted(load_file(path))[3]
    whole = path.read_bytes()
    for value, first in ((torch.nan, "float32"), (torch.inf, "float32"), (-torch.inf, "float32"), (1e6, None)):
        edit_weights(path, lambda weights, value=value: weights | {key: torch.full_like(weights[key], value)})
        if first is not None:
            with pytest.raises(UntrustedModel, match=f"{name} has weights that are not finite in {first}, first"):
                load(folder)
        else:
            load(folder)
            with pytest.raises(UntrustedModel, match=r"not finite in float16, first .*; pass --dtype float32"):
                load_model(str(folder), device="cpu", dtype=torch.float16, allow_pickle=False)
        path.write_bytes(whole)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_broken_config_is_refused(folder, name):
    for text in ("{", "[]"):
        (folder / name / "config.json").write_text(text)
        assert f"{folder / name} cannot be loaded" in refusal(folder)


def test_pickles_need_permission(folder, toy_pipe):
    make_pickles(folder)
    assert ".bin is a pickle" in refusal(folder)
    assert "--allow-pickle" in refusal(folder)
    assert_same_weights(load(folder, allow_pickle=True).pipe, toy_pipe)


def test_a_torn_pickle_is_refused(folder):
    make_pickles(folder)
    (folder / "text_encoder" / "pytorch_model.bin").write_bytes(b"\x80\x02torn")
    assert "text_encoder cannot be loaded" in refusal(folder, allow_pickle=True)


def test_code_that_comes_with_a_model_is_not_run(folder):
    trap = "raise SystemExit('ran')"
    (folder / "unet" / "mine.py").write_text(trap)
    edit(folder / "model_index.json", unet=["mine", "UNet"])
    assert "whose denoiser is mine.UNet, of no family" in refusal(folder)
    edit(folder / "model_index.json", unet=["mine", "UNet2DConditionModel"])
    assert "is of class mine.UNet2DConditionModel; only classes of diffusers and transformers" in refusal(folder)
    (folder / "pipeline.py").write_text(trap)
    edit(folder / "model_index.json", unet=["diffusers", "UNet2DConditionModel"], _class_name=["pipeline", "Mine"])
    assert "custom code" in refusal(folder)


def test_a_refiner_is_refused_with_the_reason(tmp_path):
    build_refiner_pipe().save_pretrained(tmp_path)
    message = refusal(tmp_path)
    assert "is a StableDiffusionXLImg2ImgPipeline with" in message
    assert "without text_encoder, tokenizer; Flashbulb audits Stable Diffusion XL with all of unet," in message
    assert message.endswith("; a refiner, which has one text encoder, only finishes images that another model began")


def test_a_token_beyond_the_text_encoders_vocabulary_is_refused(folder):
    tokenizer = build_toy_pipe().tokenizer
    tokenizer.add_tokens(["<cat-toy>", "<a-token>"])
    tokenizer.save_pretrained(folder / "tokenizer")
    message = refusal(folder)
    assert f"{folder / 'tokenizer'} has 2 tokens that the text encoder has no vector for, first '<a-token>'" in message
    assert "resize the text encoder's token embeddings and save the pipeline again" in message


def test_an_unknown_device_is_reported_in_one_line(saved):
    line = refusal(saved, device="nonsense")
    assert "cannot be moved to device nonsense" in line
    assert line.endswith("; give another --device")
    if not torch.cuda.is_available():
        assert "cannot be moved to device cuda" in refusal(saved, device="cuda")


def test_too_little_memory_is_no_reason_to_save_a_pipeline_again_alone(folder):
    line = f"^{folder} cannot be loaded: can't start new thread; free memory, or save the pipeline again$"
    with pytest.raises(ModelError, match=line), refusing(folder):
        raise RuntimeError("can't start new thread")
