"""A search starts from complete words of the vocabulary, however the tokenizer marks them."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import BertTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from flashbulb.audit.ascent.starts import (
    MAX_RUN,
    MAX_WORDS,
    MIN_WORDS,
    draw_starts,
    random_prompts,
    whole_words,
    word_runs,
)
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import TokenClass
from tests.audit.searches import WORDS, build_worded_pipe, build_worded_tokenizer
from tests.toy import build_toy_tokenizer


def sentencepiece(*pieces: str) -> PreTrainedTokenizerFast:
    """A tokenizer of the kind of T5's, with these pieces."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -1.0) for piece in pieces)]
    model = models.Unigram(vocabulary, unk_id=2, byte_fallback=False)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), additional_special_tokens=["<extra_id_0>"])


def vocabulary_of(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Its tokens as a model has them, by id."""
    pipe = build_worded_pipe()
    pipe.tokenizer = tokenizer
    return open_denoiser(pipe).text.vocabulary()


def test_words_of_a_clip_vocabulary_are_those_that_end() -> None:
    assert whole_words(vocabulary_of(build_worded_tokenizer())) == WORDS


def test_words_of_a_t5_vocabulary_are_those_that_start() -> None:
    tokenizer = sentencepiece("▁star", "ship", "▁sea", "▁1999", "▁", "▁Haus", "▁grün", "</w>", "▁moon!", "house</w")
    assert whole_words(vocabulary_of(tokenizer)) == ["star", "Haus", "grün"]


def test_words_of_a_bert_vocabulary_are_those_that_continue_no_other(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "star", "##ship", "sea", "grün", "house", "1999"]))
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"))
    assert whole_words(vocabulary_of(tokenizer)) == ["star", "grün", "house"]


def test_captions_are_some_words_each_and_one_token_a_word() -> None:
    denoiser = open_denoiser(build_worded_pipe())
    captions = random_prompts(denoiser, 60, torch.Generator().manual_seed(0))
    lengths = [len(caption.split()) for caption in captions]
    assert (min(lengths), max(lengths)) == (MIN_WORDS, MAX_WORDS)
    assert {word for caption in captions for word in caption.split()} == set(WORDS)
    encoded = denoiser.encode(captions)
    assert not any(encoded.is_truncated)
    assert ((encoded.main_classes == TokenClass.PROMPT).sum(dim=1) == torch.tensor(lengths)).all()


def test_runs_are_one_to_four_consecutive_words_of_one_text() -> None:
    texts = ["the old  lighthouse at dusk", "boat"]
    runs = word_runs(texts, 200, torch.Generator().manual_seed(0))
    words = [text.split() for text in texts]
    possible = {" ".join(ws[i : i + n]) for ws in words for n in range(1, MAX_RUN + 1) for i in range(len(ws))}
    assert set(runs) <= possible
    assert {len(run.split()) for run in runs} == {1, 2, 3, 4}
    assert "boat" in runs


@pytest.mark.parametrize("number", [0, 1])
def test_every_second_start_is_of_the_texts_and_the_others_stay_as_they_are(number: int) -> None:
    denoiser = open_denoiser(build_worded_pipe())
    drawn = draw_starts(denoiser, ["Lighthouse"], 6, number, torch.Generator().manual_seed(0))
    plain = draw_starts(denoiser, [], 6, number, torch.Generator().manual_seed(0))
    assert plain == random_prompts(denoiser, 6, torch.Generator().manual_seed(0))
    for place, (start, random) in enumerate(zip(drawn, plain, strict=True)):
        assert start == ("Lighthouse" if place % 2 != number else random)


@pytest.mark.parametrize("tokenizer", [build_toy_tokenizer(), sentencepiece("▁sea", "ship")])
def test_vocabulary_without_whole_words_is_refused(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    pipe = build_worded_pipe()
    pipe.tokenizer = tokenizer
    with pytest.raises(ModelError, match="has no complete words"):
        random_prompts(open_denoiser(pipe), 3, torch.Generator())
