"""A textual inversion is read as the pipeline's own loader reads it, or refused in one line."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from flashbulb.audit.additions.chosen import ChosenModel, load_chosen
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import open_denoiser
from tests.refusals import refused_line
from tests.toy import TEXT_WIDTH, build_toy_xl_pipe
from tests.toy_transformers import build_toy_sd3_pipe

VECTORS = torch.arange(3.0 * TEXT_WIDTH).reshape(3, TEXT_WIDTH) / 100
PROMPT = "a photo of <cat> at sea"


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xl") / "toy"
    build_toy_xl_pipe().save_pretrained(folder)
    return folder


def load(base: Path, *files: object) -> Any:
    return load_chosen(ChosenModel(str(base), textual_inversion=tuple(map(str, files))), "cpu", "float32")


def saved(path: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, path)
    return path


refusal = partial(refused_line, ModelError, load)


@pytest.mark.parametrize(
    ("name", "tensor", "given", "token"),
    [
        ("<cat>", VECTORS[0], "", "<cat>"),
        ("<cat>", VECTORS, "", "<cat>"),
        ("emb_params", VECTORS, ":<cat>", "<cat>"),
        ("emb_params", VECTORS[:1], "", "some-style"),
        ("<other>", VECTORS[:2], ":<cat>", "<cat>"),
    ],
)
def test_prompts_are_encoded_as_with_the_loader_of_the_pipeline(base, tmp_path, name, tensor, given, token):
    path = saved(tmp_path / "some-style.safetensors", **{name: tensor})
    ours, theirs = load(base, f"{path}{given}").pipe, load(base).pipe
    theirs.load_textual_inversion({"emb_params": tensor if tensor.dim() > 1 else tensor[None]}, token=token)
    prompts = [PROMPT, f"{token} and {token}", "a red star"]
    encoded = [pipe.encode_prompt(prompts, "cpu", 1, False)[0] for pipe in (load(base).pipe, ours, theirs)]
    assert torch.equal(encoded[1], encoded[2])
    changed = (encoded[0] != encoded[1]).flatten(1).any(dim=1)
    assert changed.tolist() == [token in prompt for prompt in prompts]
    ids = ours.tokenizer(ours.maybe_convert_prompt(token, ours.tokenizer), add_special_tokens=False).input_ids
    held = ours.text_encoder.get_input_embeddings().weight[ids]
    assert torch.equal(held, tensor if tensor.dim() > 1 else tensor[None])


def test_both_encoders_of_stable_diffusion_xl_get_their_vectors(xl, tmp_path):
    path = saved(tmp_path / "style.safetensors", clip_l=VECTORS, clip_g=VECTORS + 1)
    pipe = load(xl, f"{path}:<cat>").pipe
    for encoder, tokenizer, wanted in (
        (pipe.text_encoder, pipe.tokenizer, VECTORS),
        (pipe.text_encoder_2, pipe.tokenizer_2, VECTORS + 1),
    ):
        ids = tokenizer.convert_tokens_to_ids(["<cat>", "<cat>_1", "<cat>_2"])
        assert torch.equal(encoder.get_input_embeddings().weight[ids], wanted)
    open_denoiser(pipe).encode([PROMPT])
    single = saved(tmp_path / "one.safetensors", emb_params=VECTORS)
    assert "has text_encoder, text_encoder_2; give a textual inversion" in refusal(xl, single)


def test_files_of_another_model_or_kind_are_refused(base, tmp_path):
    path = tmp_path / "style.safetensors"
    assert "no file" in refusal(base, path)
    assert "clip_g, clip_l" in refusal(base, saved(path, clip_l=VECTORS, clip_g=VECTORS.clone()))
    assert "one tensor, or clip_l and clip_g" in refusal(base, saved(path, a=VECTORS, b=VECTORS.clone()))
    for tensor in (torch.zeros(2, 768), torch.zeros(76, TEXT_WIDTH), torch.zeros(0, TEXT_WIDTH), torch.zeros(())):
        assert "vectors of shape" in refusal(base, saved(path, emb_params=tensor))
    assert "not finite" in refusal(base, saved(path, emb_params=VECTORS * float("nan")))
    assert "as I64" in refusal(base, saved(path, emb_params=VECTORS.long()))
    path.with_suffix(".pt").write_bytes(b"never opened")
    assert "others can run code" in refusal(base, path.with_suffix(".pt"))


@pytest.mark.parametrize("token", ["a", "A", "", " ", "two words", "a\x1b[31m", "<|endoftext|>", "x" * 65])
def test_tokens_that_are_no_new_word_are_refused(base, tmp_path, token):
    path = saved(tmp_path / "style.safetensors", emb_params=VECTORS)
    line = refusal(base, f"{path}:{token}")
    assert "is no token" in line or "is in the vocabulary already" in line
    assert "\x1b" not in line


def test_a_token_is_added_once(base, tmp_path):
    path = saved(tmp_path / "style.safetensors", emb_params=VECTORS)
    other = saved(tmp_path / "other.safetensors", emb_params=VECTORS[:1])
    assert "<cat> is in the vocabulary already" in refusal(base, f"{path}:<cat>", f"{other}:<cat>")
    assert "<cat>_1 is in the vocabulary already" in refusal(base, f"{other}:<cat>_1", f"{path}:<cat>")
    fingerprints = {load(base, *files).fingerprint for files in ((), (path,), (f"{path}:<cat>",), (path, other))}
    assert len(fingerprints) == 4


def test_several_vectors_are_refused_where_the_pipeline_would_read_the_first_alone(tmp_path):
    build_toy_sd3_pipe().save_pretrained(tmp_path / "sd3")
    single, several = (saved(tmp_path / f"{n}.safetensors", clip_l=VECTORS[:n], clip_g=-VECTORS[:n]) for n in (1, 3))
    assert "3 vectors for a token, and StableDiffusion3Pipeline reads one" in refusal(
        tmp_path / "sd3", f"{several}:<cat>"
    )
    encoded = open_denoiser(load(tmp_path / "sd3", f"{single}:<cat>").pipe).encode([PROMPT])
    plain = open_denoiser(load(tmp_path / "sd3").pipe).encode([PROMPT])
    assert not torch.equal(encoded.conditioning.tensors["prompt_embeds"], plain.conditioning.tensors["prompt_embeds"])
