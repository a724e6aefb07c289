"""Reading prompts for their words alone gives what reading all positions gives, from fewer positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser, stable_diffusion
from flashbulb.audit.record.prompt_sites import PromptSites
from flashbulb.hooks import PROMPT_SITE_KINDS
from tests.tolerances import ARITHMETIC
from tests.toy import MAX_POSITIONS, build_toy_pipe, build_toy_xl_pipe
from tests.toy_transformers import build_toy_sd3_pipe
from tests.toy_variants import INVERTED, build_bert_pipe, build_inverted_pipe

REDUCTIONS = ("start_mean", "prompt_mean", "prompt_max", "end_mean")
PROMPTS = ["a red star", "", "x" * 99, "naïve 猫", "the old mill", "a", "mill and hill", "x" * (MAX_POSITIONS - 2)]
SHORT = ["a red star", "", "mill"]
N_SHORT = 2 + 8  # start and end, and "a red star" by letters


def masked_pipe() -> Any:
    pipe = build_toy_pipe()
    pipe.tokenizer.pad_token = "!"
    pipe.text_encoder.config.use_attention_mask = True
    return pipe


def uneven_xl_pipe() -> Any:
    """Its second tokenizer reads "mill" as one token, so prompts end at two positions."""
    pipe = build_toy_xl_pipe()
    pipe.tokenizer_2.add_tokens(["mill"])
    pipe.text_encoder_2.resize_token_embeddings(len(pipe.tokenizer_2))
    return pipe


CAUSAL = {
    "one encoder": build_toy_pipe,
    "masked padding": masked_pipe,
    "inversion": build_inverted_pipe,
    "two encoders": build_toy_xl_pipe,
    "two lengths": uneven_xl_pipe,
}


def sites_of(denoiser: Denoiser) -> PromptSites:
    kinds = PROMPT_SITE_KINDS.intersection(denoiser.site_kinds())
    return PromptSites(denoiser, denoiser.sites(sorted(kinds)))


def words_of(denoiser: Denoiser, prompts: list[str], batch_size: int) -> dict[str, Tensor]:
    """Reductions of the prompts in their own order."""
    order, parts = list[int](), list[Mapping[str, Tensor]]()
    for chosen, read in sites_of(denoiser).word_batches(prompts, batch_size, REDUCTIONS):
        assert 0 < len(chosen) <= batch_size
        order += chosen
        parts.append(read())
    assert sorted(order) == list(range(len(prompts)))
    places = torch.tensor(order).argsort()
    return {name: torch.cat([part[name] for part in parts])[places] for name in parts[0]}


def assert_same(denoiser: Denoiser, prompts: list[str], batch_size: int) -> None:
    whole = sites_of(denoiser).read(prompts)[0]
    expected = {name: values for name, values in whole.items() if name.endswith(REDUCTIONS)}
    words = words_of(denoiser, prompts, batch_size)
    assert words.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(words[name], values, rtol=ARITHMETIC, atol=ARITHMETIC, equal_nan=True)


def positions_read(denoiser: Denoiser, prompts: list[str], batch_size: int) -> dict[str, list[int]]:
    """Positions that each text encoder computes, by batch."""
    with denoiser.text.reading() as received:
        words_of(denoiser, prompts, batch_size)
    return {name: [ids.shape[1] for ids in calls] for name, calls in received.items()}


@pytest.mark.parametrize("clip_skip", [None, 1])
@pytest.mark.parametrize("kind", CAUSAL)
def test_words_are_read_as_with_all_padding(kind, clip_skip):
    denoiser = open_denoiser(CAUSAL[kind](), clip_skip)
    prompts = [*PROMPTS, f"a {INVERTED[0]} star"]
    for batch_size in (3, 64):
        assert_same(denoiser, prompts, batch_size)


def test_padding_behind_the_longest_prompt_of_a_batch_is_not_computed(toy_pipe):
    denoiser = open_denoiser(toy_pipe)
    assert positions_read(denoiser, SHORT, 3) == {"text_encoder": [N_SHORT]}
    assert positions_read(denoiser, PROMPTS, 64) == {"text_encoder": [MAX_POSITIONS]}


def test_prompts_of_one_length_share_a_batch(toy_pipe):
    mixed = ["x" * 99, "a", "y" * 99, "b", "c", "z" * 99]
    assert positions_read(open_denoiser(toy_pipe), mixed, 3) == {"text_encoder": [MAX_POSITIONS, 3]}


def test_all_encoders_read_as_many_positions():
    denoiser = open_denoiser(uneven_xl_pipe())
    assert positions_read(denoiser, ["mill"], 1) == {"text_encoder": [6], "text_encoder_2": [6]}


def test_prompts_are_sorted_by_some_batches_at_a_time(toy_pipe, monkeypatch):
    monkeypatch.setattr(stable_diffusion, "_SORTED_BATCHES", 2)
    denoiser = open_denoiser(toy_pipe)
    assert_same(denoiser, PROMPTS, 1)
    assert positions_read(denoiser, ["a", "b" * 99, "c", "d" * 99], 1) == {"text_encoder": [32, 3, 32, 3]}


def test_an_encoder_whose_words_read_their_padding_computes_all_of_it(tmp_path):
    denoiser = open_denoiser(build_bert_pipe(tmp_path))
    assert_same(denoiser, ["ab", "", "x" * 99], 2)
    assert positions_read(denoiser, ["ab", "b"], 2) == {"text_encoder": [MAX_POSITIONS]}


def test_families_that_join_positions_of_encoders_compute_all_of_them():
    denoiser = open_denoiser(build_toy_sd3_pipe())
    assert_same(denoiser, SHORT, 2)
    assert {n for calls in positions_read(denoiser, SHORT, 2).values() for n in calls} == {MAX_POSITIONS}


def test_the_pipeline_tokenizes_as_before_when_words_are_read(toy_pipe):
    denoiser = open_denoiser(toy_pipe)
    tokenizer, expected = denoiser.pipe.tokenizer, denoiser.encode(PROMPTS)
    words_of(denoiser, SHORT, 2)
    assert denoiser.pipe.tokenizer is tokenizer
    encoded = denoiser.encode(PROMPTS)
    assert encoded.is_truncated == expected.is_truncated
    assert torch.equal(encoded.conditioning.tensors["prompt_embeds"], expected.conditioning.tensors["prompt_embeds"])
