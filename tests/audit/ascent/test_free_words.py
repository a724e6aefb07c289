"""Few words of a caption move, or words put in between, and their tokens are found wherever the tokenizer cuts."""

import pytest
import torch
from transformers import CLIPTokenizer

from flashbulb.audit.ascent.free_words import Start, choose_start, free_positions
from flashbulb.audit.ascent.starts import whole_words
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from tests.toy import build_toy_pipe, build_toy_text_encoder, byte_alphabet
from tests.toy_variants import INVERTED, build_inverted_pipe

WORDS = ("star", "whale", "bakery")


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    """With a tokenizer that knows three words and spells all others."""
    alphabet = byte_alphabet()
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append((parts[-2], parts[-1]))
            parts[-2:] = ["".join(parts[-2:])]
            pieces += parts[-1:] if parts[-1] not in pieces else []
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"]))}
    pipe = build_toy_pipe()
    pipe.tokenizer = CLIPTokenizer(vocab=vocab, merges=list(dict.fromkeys(merges)), model_max_length=32)
    pipe.text_encoder = build_toy_text_encoder(pipe.tokenizer).eval()
    return open_denoiser(pipe)


def free_pieces(denoiser, start):
    """The tokens that may move, as text."""
    encoded = denoiser.encode([start.text])
    free = free_positions(denoiser, encoded, [start])["text_encoder"][0]
    assert set(free.tolist()) <= {0.0, 1.0}
    names = denoiser.text.token_names(encoded.input_ids)
    return [name for name, is_free in zip(names, free.tolist(), strict=True) if is_free]


@pytest.mark.parametrize(
    ("word", "pieces"),
    [(0, ["a</w>"]), (1, ["star</w>"]), (2, ["v", "o", "n</w>"]), (4, ["whale</w>", ",</w>"]), (5, ["Ã", "¤</w>"])],
)
def test_all_pieces_of_a_free_word_move_and_no_others(denoiser, word, pieces):
    assert free_pieces(denoiser, Start("a  star von\tthe whale, ä", (word,))) == pieces


def test_without_a_choice_all_but_the_start_token_move(denoiser):
    free = free_positions(denoiser, denoiser.encode(["a star", ""]), [Start("a star", None), Start("", None)])[
        "text_encoder"
    ]
    assert free[:, 0].eq(0).all()
    assert free[:, 1:].eq(1).all()


def test_rows_have_their_own_words(denoiser):
    starts = [Start("a star", (1,)), Start("a star", None), Start("a star", ())]
    free = free_positions(denoiser, denoiser.encode([start.text for start in starts]), starts)["text_encoder"]
    assert free.sum(dim=1).tolist() == [1, 31, 0]


def test_all_vectors_of_an_inverted_word_move():
    denoiser = open_denoiser(build_inverted_pipe())
    assert free_pieces(denoiser, Start("a <toy> star", (1,))) == list(INVERTED)
    assert free_pieces(denoiser, Start("a <toy> star", (2,))) == ["s", "t", "a", "r</w>"]


def test_the_end_of_a_caption_cut_short_does_not_move(denoiser):
    assert free_pieces(denoiser, Start("x" * 99, (0,))) == ["x"] * 30


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


CAPTION = "one two three four five six"


def test_first_restart_is_the_caption_itself(denoiser):
    assert choose_start(denoiser, "a  b ", 0, 3, generator()) == Start("a  b ", None)
    assert choose_start(denoiser, " ", 1, 3, generator()) == Start(" ", None)


def test_odd_restarts_free_words_of_the_caption(denoiser):
    chosen = set()
    for seed in range(8):
        start = choose_start(denoiser, CAPTION, 1, 3, generator(seed))
        assert start.text == CAPTION
        assert len(set(start.free_words)) == 3
        assert set(start.free_words) <= set(range(6))
        chosen.add(start.free_words)
    assert len(chosen) > 3
    assert choose_start(denoiser, "one two", 3, 3, generator()).free_words == (0, 1)


def test_even_restarts_free_the_words_that_they_put_in(denoiser):
    places = set()
    for seed in range(12):
        start = choose_start(denoiser, CAPTION, 2, 3, generator(seed))
        words = start.text.split()
        assert [word for i, word in enumerate(words) if i not in start.free_words] == CAPTION.split()
        assert {words[i] for i in start.free_words} <= set(whole_words(denoiser.text.vocabulary()))
        assert len(start.free_words) == 3
        assert free_pieces(denoiser, start) == [f"{words[i]}</w>" for i in start.free_words]
        places.add(start.free_words)
    assert len(places) > 6
