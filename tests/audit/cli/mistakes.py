"""Mistakes in the inputs of an audit. Each function returns options, and a part of the error line they cause."""

import shutil
from pathlib import Path

import torch
from diffusers import EDMEulerScheduler
from safetensors.torch import load_file

from tests.audit.commands import text_file
from tests.audit.model.loading.folders import edit_config, edit_index, shard_
from tests.audit.model.loading.hostile_weights import with_old_lora
from tests.toy import build_toy_pipe, build_toy_tokenizer
from tests.toy_variants import build_zero_snr_pipe


def without_model(inputs, tmp_path):
    return {"--model": tmp_path / "nowhere"}, "no model folder"


def without_index(inputs, tmp_path):
    (tmp_path / "folder").mkdir()
    return {"--model": tmp_path / "folder"}, "model_index.json"


def pickled(inputs, tmp_path):
    model = Path(shutil.copytree(inputs.model, tmp_path / "model"))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    return {"--model": model}, "--allow-pickle"


def corrupt(inputs, tmp_path):
    model = Path(shutil.copytree(inputs.model, tmp_path / "model"))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return {"--model": model}, "cannot be loaded"


def token_without_a_vector(inputs, tmp_path):
    model, tokenizer = Path(shutil.copytree(inputs.model, tmp_path / "model")), build_toy_tokenizer()
    tokenizer.add_tokens(["<cat-toy>"])
    tokenizer.save_pretrained(model / "tokenizer")
    return {"--model": model}, "has 1 tokens that the text encoder has no vector for, first '<cat-toy>'"


def lora_in_the_unet(inputs, tmp_path):
    with_old_lora(model := Path(shutil.copytree(inputs.model, tmp_path / "model")))
    return {"--model": model}, "belong to an adapter (LoRA, PEFT) that is not fused; fuse it first"


def code_of_its_own(inputs, tmp_path):
    model = Path(shutil.copytree(inputs.model, tmp_path / "model"))
    edit_config("text_encoder", model, auto_map={"AutoModel": "mine.Encoder"})
    edit_index(model, text_encoder=["transformers", "AutoModel"])
    return {"--model": model}, "is of class transformers.AutoModel; only classes of diffusers and transformers are run"


def shard_elsewhere(inputs, tmp_path):
    shard_("unet", model := Path(shutil.copytree(inputs.model, tmp_path / "model")), lambda name: f"../../{name}")
    return {"--model": model}, "which is no file beside it"


def absurd_length(inputs, tmp_path):
    model = Path(shutil.copytree(inputs.model, tmp_path / "model"))
    edit_config("tokenizer", model, model_max_length=10**9)
    return {"--model": model}, "has model_max_length 1000000000; it is a whole number from 2 to"


def scheduler_of_its_own(inputs, tmp_path):
    pipe = build_toy_pipe()
    pipe.scheduler = EDMEulerScheduler()
    pipe.save_pretrained(tmp_path / "model")
    return {"--model": tmp_path / "model"}, "EDMEulerScheduler scales latents and timesteps of its own"


def noise_predicted_from_noise(inputs, tmp_path):
    build_zero_snr_pipe("epsilon").save_pretrained(tmp_path / "model")
    return {"--model": tmp_path / "model"}, "set prediction_type to v_prediction, or rescale_betas_zero_snr to false"


def no_prompts(inputs, tmp_path):
    return {"--prompts": text_file(tmp_path / "p.txt", ["", "  ", ""])}, "no prompts"


def missing_prompts(inputs, tmp_path):
    return {"--prompts": tmp_path / "p.txt"}, "No such file"


def invalid_utf8(inputs, tmp_path):
    (tmp_path / "p.txt").write_bytes(b"a star\ncaf\xe9\n")
    return {"--prompts": tmp_path / "p.txt"}, "invalid UTF-8 at byte offset 10"


def ambiguous_column(inputs, tmp_path):
    return {"--prompts": text_file(tmp_path / "p.csv", ["text,caption", "a,b"])}, "--text-column"


def unwritable_out(inputs, tmp_path):
    return {"--out": text_file(tmp_path / "file", ["mine"]) / "run"}, "cannot be written"


def file_as_out(inputs, tmp_path):
    return {"--out": text_file(tmp_path / "file", ["mine"])}, "choose another --out"


def unknown_site(inputs, tmp_path):
    return {"--sites": "attention"}, "--sites: "


def impossible_rate(inputs, tmp_path):
    return {"--fpr": 2}, "--fpr: "


def no_seeds(inputs, tmp_path):
    return {"--seeds": 0}, "--seeds: "


def unknown_dtype(inputs, tmp_path):
    return {"--dtype": "int8"}, "--dtype: "


def unknown_device(inputs, tmp_path):
    return {"--device": "abacus"}, "abacus"


def one_reference(inputs, tmp_path):
    return {"--reference": text_file(tmp_path / "r.txt", ["a"])}, "at least 4 distinct prompts"


def two_references(inputs, tmp_path):
    return {"--reference": text_file(tmp_path / "r.txt", ["a", "b", "a"])}, "has 2"


def three_references(inputs, tmp_path):
    return {"--reference": text_file(tmp_path / "r.txt", ["a", "b", "c"])}, "has 3"


def no_training_images(inputs, tmp_path):
    return {"--train-images": tmp_path / "images"}, "give --train-images a folder, a .tar or an index"


MISTAKES = [
    *(without_model, without_index, pickled, corrupt, token_without_a_vector, scheduler_of_its_own),
    *(lora_in_the_unet, code_of_its_own, shard_elsewhere, absurd_length),
    *(noise_predicted_from_noise, no_prompts, missing_prompts, invalid_utf8, ambiguous_column),
    *(unwritable_out, file_as_out, unknown_site, impossible_rate, no_seeds, unknown_dtype, unknown_device),
    *(one_reference, two_references, three_references, no_training_images),
]
