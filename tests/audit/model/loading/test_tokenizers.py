"""Rules of tokenizers that are in use pass; rules that take forever on some prompts are refused."""

import json

import pytest

from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.loading.tokenizers import check_tokenizer
from tests.audit.model.loading.hostile_numbers import split

USED = [
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{M}]*[\p{Ll}\p{Lm}\p{M}]+(?i:'s|'t|'re|'ve)?|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[\p{P}\p{S}]?[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
    " {2,}",
    r"(?<!\n)^",
    r"\(+|\)*|[)(+*]+",
]
RUNAWAY = [
    "(a+)+$",
    "(x+x+)+y",
    "((a)+)+",
    "((ab|a)c)*",
    "(a?){50}a{50}",
    "(a{1,9}){3,}",
    r"(\w+\s?)+$",
    r"(?:[)]+){2,}",
    "(?>a+)*b",
    r"(.)\1",
    "a+a+a+a+b",
]


def check(folder, pattern: str) -> None:
    rules = {"pre_tokenizer": split(pattern), "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    check_tokenizer(folder)


@pytest.mark.parametrize("pattern", USED)
def test_patterns_in_use_pass(tmp_path, pattern):
    check(tmp_path, pattern)


@pytest.mark.parametrize("pattern", RUNAWAY)
def test_patterns_that_can_run_away_are_refused(tmp_path, pattern):
    with pytest.raises(ModelError, match="takes forever on some prompts"):
        check(tmp_path, pattern)
