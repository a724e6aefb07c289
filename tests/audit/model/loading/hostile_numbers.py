"""Folders whose configs and tokenizer rules ask for sizes and lengths that no model has."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.audit.model.loading.folders import (
    DEEP,
    Change,
    config,
    edit,
    edit_config,
    edit_index,
    raw_config,
    text,
    write,
)

BIG = 10**9


def tokenizer_rules(folder: Path, **entries: Any) -> None:
    """Change a tokenizer.json whose rules are all read."""
    edit_index(folder, tokenizer=["transformers", "PreTrainedTokenizerFast"])
    edit(folder / "tokenizer" / "tokenizer.json", **entries)


def rules(entries: dict[str, Any], folder: Path) -> None:
    tokenizer_rules(folder, **entries)


def split(pattern: str) -> dict[str, Any]:
    """Return the rule that splits texts at a regular expression."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def vocabulary(change: Callable[[dict[str, Any]], Any], folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] = change(content["model"]["vocab"])
    write(path, json.dumps(content))


NUMBERS: dict[str, tuple[Change, str]] = {
    **{
        f"model_max_length {value!r}": (partial(config, "tokenizer", {"model_max_length": value}), "model_max_length")
        for value in (BIG, -1, 0, 1, "77", 77.5, True, None, [77])
    },
    "model_max_length NaN": (partial(raw_config, "tokenizer", "model_max_length", "NaN"), "model_max_length"),
    "model_max_length Infinity": (partial(raw_config, "tokenizer", "model_max_length", "Infinity"), "model_max_length"),
    **{
        f"{name} sample_size {value!r}": (partial(config, name, {"sample_size": value}), "sample_size")
        for name in ("unet", "vae")
        for value in (BIG, -8, 0, "8", 8.5, True, [8, BIG], [8], [8, 8, 8], {"height": 8})
    },
    **{
        f"{key} {value!r}": (partial(config, "scheduler", {key: value}), key)
        for key, value in (
            *(("num_train_timesteps", value) for value in (BIG, 0, -1, 1, "1000", 999.5, True, None)),
            *(("beta_start", value) for value in ("0.1", None, True)),
            *(("beta_end", value) for value in ("x", [0.1])),
            *(("trained_betas", value) for value in ([0.1] * 999, "x", [None] * 1000, 7)),
            *(("steps_offset", value) for value in (BIG, -1, "1")),
        )
    },
    "unknown schedule": (partial(config, "scheduler", {"beta_schedule": "none"}), "none is not implemented"),
    "unknown spacing": (partial(config, "scheduler", {"timestep_spacing": ["leading"]}), "timestep_spacing"),
    **{
        f"scaling_factor {value!r}": (partial(config, "vae", {"scaling_factor": value}), "scaling_factor")
        for value in ("0.18", None, True)
    },
    "text encoder of more positions": (
        partial(config, "text_encoder", {"max_position_embeddings": 64}),
        "1 weights have another shape than config.json says, first ",
    ),
    **{
        f"{name} {key} {str(value)[:20]}": (partial(config, name, {key: value}), key)
        for name, key, value in (
            ("text_encoder", "num_hidden_layers", BIG),
            ("text_encoder", "num_hidden_layers", 0),
            ("text_encoder", "num_hidden_layers", -1),
            ("text_encoder", "vocab_size", 10**12),
            ("text_encoder", "hidden_size", 10**8),
            ("text_encoder", "intermediate_size", 10**10),
            ("text_encoder", "max_position_embeddings", 10**11),
            ("unet", "layers_per_block", BIG),
            ("unet", "layers_per_block", [1, BIG]),
            ("unet", "transformer_layers_per_block", BIG),
            ("unet", "block_out_channels", [BIG, BIG]),
            ("unet", "cross_attention_dim", 10**10),
            ("unet", "in_channels", BIG),
            ("vae", "layers_per_block", 10**7),
            ("vae", "latent_channels", 10**10),
            ("vae", "block_out_channels", [32] * 10**5),
        )
    },
    "unet of another width": (partial(config, "unet", {"block_out_channels": [64, 128]}), "unet cannot be loaded"),
    "unet of more layers": (partial(config, "unet", {"layers_per_block": 2}), "unet cannot be loaded"),
    "text encoder of more layers": (partial(config, "text_encoder", {"num_hidden_layers": 3}), "lacks"),
    "unet of NaN": (partial(raw_config, "unet", "norm_eps", "NaN"), "norm_eps"),
    "vae of NaN": (partial(raw_config, "vae", "shift_factor", "NaN"), "shift_factor"),
}
RULES: dict[str, tuple[Change, str]] = {
    **{
        f"rule {pattern}": (partial(rules, {"pre_tokenizer": split(pattern)}), "tokenizer.json")
        for pattern in (
            "(a+)+$",
            "(x+x+)+y",
            "(.*)*z",
            "^(a|a?)+$",
            "([a-z]+)*!",
            "(?:a*){2,}b",
            r"\w*\w*\w*\w*\w*\w*!",
            r"(?<a>x\g<a>?)\k<a>",
        )
    },
    "rule that is no pattern": (partial(rules, {"pre_tokenizer": split("(a")}), "tokenizer cannot be loaded"),
    "normalizer of nested repeats": (
        partial(rules, {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}}),
        "tokenizer.json",
    ),
    "rules inside a sequence": (
        partial(rules, {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split("(a+)+$")]}}),
        "tokenizer.json",
    ),
    "normalizer that swells texts": (
        partial(
            rules,
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 99}] * 5,
                }
            },
        ),
        "tokenizer.json",
    ),
    "padding to 10^9": (
        partial(
            rules,
            {
                "padding": {
                    "strategy": {"Fixed": BIG},
                    "direction": "Right",
                    "pad_to_multiple_of": None,
                    "pad_id": 0,
                    "pad_type_id": 0,
                    "pad_token": "a",
                }
            },
        ),
        "tokenizer.json",
    ),
    "truncation at 10^9": (
        partial(
            rules,
            {"truncation": {"direction": "Right", "max_length": BIG, "strategy": "LongestFirst", "stride": 0}},
        ),
        "tokenizer.json",
    ),
    "token beyond all": (partial(vocabulary, lambda v: v | {"far": 10**9}), "tokenizer"),
    "token of a negative number": (partial(vocabulary, lambda v: v | {"a": -1}), "tokenizer"),
    "token of a fraction": (partial(vocabulary, lambda v: v | {"a": 1.5}), "tokenizer"),
    "token of no number": (partial(vocabulary, lambda v: v | {"a": "1"}), "tokenizer"),
    "two tokens of a number": (partial(vocabulary, lambda v: dict.fromkeys(v, 3)), "tokenizer"),
    "vocabulary of nothing": (partial(vocabulary, lambda v: {}), "tokenizer"),
    "vocabulary that is text": (partial(vocabulary, lambda v: "abc"), "tokenizer"),
    "vocabulary that is a number": (partial(vocabulary, lambda v: 7), "tokenizer"),
    "tokens added without end": (
        partial(rules, {"added_tokens": [{"id": number, "content": f"t{number}"} for number in range(600, 30_000)]}),
        "or more than 20000",
    ),
    "tokens added that are a number": (partial(rules, {"added_tokens": 7}), "adds no list of tokens"),
    "extra tokens without end": (
        lambda f: (
            edit_index(f, tokenizer=["transformers", "T5Tokenizer"]),
            edit_config("tokenizer", f, extra_ids=BIG),
        ),
        "extra_ids",
    ),
    "tokenizer of nothing": (partial(text, "tokenizer/tokenizer.json", "{}"), "tokenizer"),
    "tokenizer of a list": (partial(text, "tokenizer/tokenizer.json", "[]"), "tokenizer"),
    "tokenizer that is deep": (partial(text, "tokenizer/tokenizer.json", DEEP), "tokenizer.json"),
    "tokenizer without a model": (partial(rules, {"model": None}), "tokenizer"),
    "tokenizer of an unknown kind": (partial(rules, {"model": {"type": "Mine"}}), "tokenizer"),
    "tokenizer that names a file": (
        partial(config, "tokenizer", {"fast_tokenizer_files": ["tokenizer.../../x.json"]}),
        "fast_tokenizer_files",
    ),
}
UNTRUSTED: dict[str, tuple[Change, str]] = {
    **{
        f"{key} {str(value)[:20]}": (partial(config, component, {key: value}), key)
        for component, key, value in (
            *(("scheduler", "beta_start", value) for value in (-0.1, 2, 1e300)),
            *(("scheduler", "beta_end", value) for value in (-1, 1.5, BIG)),
            *(("scheduler", "trained_betas", [value] * 1000) for value in (2.0, 0.0)),
            *(("vae", "scaling_factor", value) for value in (0, -0.18, 1e38)),
        )
    },
    "betas that are NaN": (partial(raw_config, "scheduler", "beta_end", "NaN"), "beta_end"),
    "betas that are infinite": (partial(raw_config, "scheduler", "beta_start", "Infinity"), "beta_start"),
    "scale that is NaN": (partial(raw_config, "vae", "scaling_factor", "NaN"), "scaling_factor"),
}
"""Numbers that no model is trained with: the model runs, and its results could not be trusted."""
