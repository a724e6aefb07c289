"""Add the vectors of a textual inversion to tokenizers and text encoders (Gal et al. 2022, arXiv 2208.01618)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flashbulb.audit.additions.files import check_floats, existing, opened, read_finite, show_names
from flashbulb.audit.model.errors import ModelError

_OPTION, _SAFE = "--textual-inversion", ".safetensors"
_BOTH = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
_ONE = "emb_params"  # as web interfaces write it; diffusers writes the token as name
_MAX_VECTORS, _LONGEST = 75, 64


class NamedFile(NamedTuple):
    """A file of vectors, and the token that stands for them; None is the token of the file."""

    path: Path
    token: str | None


def read_named(text: str) -> NamedFile:
    """Read FILE or FILE:TOKEN; a file with a colon in its name counts as a file.

    Raises:
        ModelError: there is no such file, or it is no .safetensors file.
    """
    path, ending, token = text.partition(f"{_SAFE}:")
    if not ending or Path(text).expanduser().is_file():
        return NamedFile(existing(text, _OPTION), None)
    return NamedFile(existing(path + _SAFE, _OPTION), token)


def add_token_(pipe: Any, tokenizer_of: Mapping[str, str], file: NamedFile) -> str:
    """Add a token, and one more for each further vector, to every text encoder with a file's vectors; return the token.

    Raises:
        ModelError: the file is of another kind or model, or the token is not a new one.
    """
    with opened(file.path) as opened_file:
        keys = sorted(opened_file.keys())
        check_floats(opened_file, file.path, keys)
        encoders = _encoders(pipe, file.path, keys)
        vectors = {name: read_finite(opened_file, file.path, key) for key, name in encoders.items()}
    token = file.token if file.token is not None else keys[0]
    if file.token is None and (keys == [_ONE] or len(keys) > 1):
        token = file.path.stem
    vectors = {name: tensor if tensor.dim() > 1 else tensor.reshape(1, -1) for name, tensor in vectors.items()}
    n_vectors = len(next(iter(vectors.values())))
    if n_vectors > 1 and not hasattr(pipe, "maybe_convert_prompt"):
        raise ModelError(
            f"{file.path} has {n_vectors} vectors for a token, and {type(pipe).__name__} reads one; give a file "
            "with one"
        )
    for name, tensor in vectors.items():
        _check_shape(pipe, file.path, name, tensor, n_vectors)
    tokens = [token, *(f"{token}_{i}" for i in range(1, n_vectors))]
    for name in vectors:
        _check_new(pipe.components[tokenizer_of[name]], tokens)
    for name, tensor in vectors.items():
        _add_(pipe.components[tokenizer_of[name]], pipe.components[name], tokens, tensor)
    return token


def _encoders(pipe: Any, path: Path, keys: list[str]) -> dict[str, str]:
    """Return the text encoder of each key."""
    present = sorted(name for name, part in pipe.components.items() if name.startswith("text_encoder") and part)
    found = {key: _BOTH[key] for key in keys} if set(keys) == set(_BOTH) else dict.fromkeys(keys[:1], "text_encoder")
    if len(keys) != len(found) or sorted(found.values()) != present:
        raise ModelError(
            f"{path} holds {show_names(keys)}, this {type(pipe).__name__} has {', '.join(present)}; give a "
            "textual inversion that was trained on this model: one tensor, or clip_l and clip_g"
        )
    return found


def _check_shape(pipe: Any, path: Path, name: str, tensor: Tensor, n_vectors: int) -> None:
    width = pipe.components[name].get_input_embeddings().embedding_dim
    fits = tensor.dim() == 2 and tensor.shape[1] == width and len(tensor) == n_vectors
    if not fits or not 1 <= n_vectors <= _MAX_VECTORS:
        raise ModelError(
            f"{path} has vectors of shape {list(tensor.shape)}, the {name} reads {width} numbers a token and up to "
            f"{_MAX_VECTORS} tokens; give a textual inversion that was trained on this model"
        )


def _check_new(tokenizer: Any, tokens: list[str]) -> None:
    first = tokens[0]
    if not first.isprintable() or not first or len(first) > _LONGEST or any(letter.isspace() for letter in first):
        raise ModelError(f"{_OPTION}: {show_names([first])!r} is no token; give FILE:TOKEN, such as FILE:<style>")
    vocabulary = tokenizer.get_vocab()
    for token in tokens:
        if any(name in vocabulary for name in (token, token.lower(), f"{token.lower()}</w>", f"▁{token.lower()}")):
            raise ModelError(
                f"{_OPTION}: {token} is in the vocabulary already, and captions that name it would change; give a new "
                "token: FILE:TOKEN, such as FILE:<style>"
            )


def _add_(tokenizer: Any, encoder: Any, tokens: list[str], vectors: Tensor) -> None:
    tokenizer.add_tokens(tokens)
    numbers = tokenizer.convert_tokens_to_ids(tokens)
    for token, number in zip(tokens, numbers, strict=True):
        if tokenizer(token, add_special_tokens=False).input_ids != [number]:
            raise ModelError(f"{_OPTION}: the tokenizer does not read {token} as one token; give another: FILE:TOKEN")
    n_before = encoder.get_input_embeddings().num_embeddings
    encoder.resize_token_embeddings(max(n_before, max(numbers) + 1), mean_resizing=False)
    with torch.no_grad():
        weight = encoder.get_input_embeddings().weight
        weight[numbers] = vectors.to(weight.device, weight.dtype)
