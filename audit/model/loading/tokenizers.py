"""Load a tokenizer of a pipeline folder: one whose rules cannot run away and whose tokens its text encoder knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import transformers

from flashbulb.audit.model.configs import entries, is_whole, read_config, read_json, read_object, refusal, shown
from flashbulb.audit.model.errors import ModelError, one_line, refusing

_VOCABULARIES = ("tokenizer.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
_SPECIAL = ("added_tokens.json", "special_tokens_map.json")
_MOST_ADDED = 20_000  # tokens beside the vocabulary
_UNSET = 10**20  # transformers writes a length of 10^30 for a tokenizer without one
_MOST = 1_000_000  # tokens of a prompt, or of a vocabulary that a setting adds
_MAX_GROWTH = 1000  # characters that replacements make of one
_USUAL_LENGTH = 512  # tokens that pipelines ask of a text encoder without a length
_PROBES = ("", "a photo of a red star, 1999", "a" * 64 + "!", " " * 64 + "!", "1" * 64 + "!")

_GROUP = re.compile(r"\((?:\?(?:[:=!>]|<[=!]|<\w+>|[a-z-]+:))?([^()]*)\)")
_CLASS = re.compile(r"\\[pP](?:\{[^}]*\}|\w)|\\.|\[(?:\\.|[^\]\\])*\]")  # a character or a class of characters
_FIXED, _VARYING = "x", "\uffff"  # stand for a part of a pattern that matches texts of one length, or of several
_VARIES = re.compile(rf"[*+?|{{{_VARYING}]")
_REPEATED = re.compile(rf"{_VARYING}[*+{{]")
_IN_A_ROW = re.compile(r"(?:[^|*+?{}](?:[*+]|\{\d+,\})[?+]?){4}")


def load_tokenizer(folder: Path, tokenizer_class: Any, encoder: Any) -> Any:
    """Load the tokenizer of a text encoder; None is one that the pipeline does without.

    Raises:
        ModelError: it has no vocabulary; its settings or rules are absurd; it pads on the left; or it makes tokens that
            the text encoder has no vector for.
    """
    with _refusing(folder):
        tokenizer = tokenizer_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if encoder is None:
        return tokenizer
    check_tokens(str(folder), tokenizer, encoder, "and save the pipeline again, or remove the tokens")
    n_vectors = encoder.get_input_embeddings().num_embeddings
    # a tokenizer without a length would pad to 1e30 tokens
    length = tokenizer.model_max_length
    tokenizer.model_max_length = min(length, getattr(encoder.config, "max_position_embeddings", length))
    if folder.name == "tokenizer" and tokenizer.model_max_length > _MOST:
        raise refusal(
            folder / "tokenizer_config.json",
            "has no model_max_length, and the text encoder no limit; add the number of tokens that it was trained with",
        )
    _try(folder, tokenizer, n_vectors)
    return tokenizer


def check_tokens(where: str, tokenizer: Any, encoder: Any, then: str) -> None:
    """Refuse a tokenizer with tokens that the text encoder has no vector for, or with padding before the words.

    Args:
        where: names the tokenizer in the message.
        then: ends the way out, which is to resize the token embeddings.
    """
    n_vectors = encoder.get_input_embeddings().num_embeddings
    beyond = sorted(token for token, number in tokenizer.get_vocab().items() if number >= n_vectors)
    if beyond:
        raise ModelError(
            f"{where} has {len(beyond)} tokens that the text encoder has no vector for, first {beyond[0]!r}; resize "
            f"the text encoder's token embeddings {then}"
        )
    if tokenizer.padding_side != "right":
        raise ModelError(f"{where} pads prompts on the {tokenizer.padding_side}; set its padding_side to 'right'")


def check_tokenizer(folder: Path) -> None:
    """Check the files of a tokenizer before a library reads them.

    Raises:
        ModelError: as `load_tokenizer`.
    """
    # transformers makes a tokenizer without words from an empty folder; every prompt would then have the same tokens
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise ModelError(f"{folder} holds no vocabulary ({', '.join(_VOCABULARIES)}); save the pipeline again")
    for path in sorted(folder.glob("*.json")):
        if path.name == "tokenizer_config.json":
            _check_settings(path)
        elif path.name == "tokenizer.json":
            _check_rules(path)
        elif path.name in _SPECIAL:
            read_config(path)
        else:
            read_json(path)


def _check_settings(path: Path) -> None:
    config = read_config(path)
    length = config.get("model_max_length", 10**30)
    if not is_whole(length, 2, _MOST) and not (type(length) in (int, float) and _UNSET <= length < float("inf")):
        raise refusal(path, f"has model_max_length {shown(length)}; it is a whole number from 2 to {_MOST}")
    name = config.get("tokenizer_class") or "PreTrainedTokenizerFast"
    if not isinstance(name, str) or not hasattr(transformers, name):
        raise refusal(path, f"names tokenizer class {name}, which transformers lacks; no code of a model is run")
    files = config.get("fast_tokenizer_files") or []
    if not isinstance(files, list) or any(Path(str(name)).name != name for name in files):
        raise refusal(path, f"has fast_tokenizer_files {shown(files)}, which are no files beside it")
    for key, value in config.items():
        if key != "model_max_length" and isinstance(value, int) and abs(value) > _MOST:
            raise refusal(path, f"has {key} {shown(value)}; save the pipeline again")


def _check_rules(path: Path) -> None:
    rules = read_object(path)
    for key in ("padding", "truncation"):
        for name, value in entries(rules.get(key)):
            if isinstance(value, int) and not -1 <= value <= _MOST:
                raise refusal(path, f"has {key} with {name} {shown(value)}; save the pipeline again")
    added = rules.get("added_tokens") or []
    if not isinstance(added, list) or len(added) > _MOST_ADDED:
        raise refusal(path, f"adds no list of tokens to the vocabulary, or more than {_MOST_ADDED}")
    steps = [rules.get(key) for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder")]
    for key, value in entries(steps):
        if key == "Regex" and isinstance(value, str) and _can_run_away(value):
            raise refusal(path, f"splits text by {shown(value)}, which takes forever on some prompts")
    written = [value for key, value in entries(rules.get("normalizer")) if key in ("content", "prepend")]
    if prod(max(1, len(str(text))) for text in written) > _MAX_GROWTH:
        raise refusal(path, f"has a normalizer that makes more than {_MAX_GROWTH} characters of one")
    model = rules.get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    if not words or not isinstance(words, dict | list):
        raise refusal(path, "holds no vocabulary; save the pipeline again")
    if isinstance(words, dict) and not all(is_whole(number, 0, 10**9) for number in words.values()):
        raise refusal(path, "has a vocabulary whose tokens are not numbered; save the pipeline again")
    if isinstance(words, dict) and len(set(words.values())) < len(words):
        raise refusal(path, "has a vocabulary with two tokens of one number; save the pipeline again")


def _can_run_away(pattern: str) -> bool:
    """Return whether a regular expression may try exponentially many ways to match.

    That needs a repeated group that varies in length, a reference to a group, or many repetitions in a row.
    """
    if re.search(r"\\[gk1-9]", pattern):
        return True
    flat = _CLASS.sub(_FIXED, pattern)
    while (group := _GROUP.search(flat)) is not None:
        if _REPEATED.search(group[1]):
            return True
        flat = flat[: group.start()] + (_VARYING if _VARIES.search(group[1]) else _FIXED) + flat[group.end() :]
    return _REPEATED.search(flat) is not None or _IN_A_ROW.search(flat) is not None


def _try(folder: Path, tokenizer: Any, n_vectors: int) -> None:
    """Encode a few texts as pipelines do."""
    length = min(tokenizer.model_max_length, _USUAL_LENGTH)
    with _refusing(folder):
        rows = tokenizer(list(_PROBES), padding="max_length", max_length=length, truncation=True).input_ids
    if not all(len(row) == length and all(0 <= number < n_vectors for number in row) for row in rows):
        raise ModelError(f"{folder} makes tokens that the text encoder has no vector for; save the pipeline again")


@contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    """Turn what tokenizers raises into one line: also plain exceptions, and panics, which are not even those."""
    try:
        with refusing(folder):
            yield
    except ModelError:
        raise
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"{folder} cannot be loaded: {one_line(error)}; save the pipeline again") from error
