"""What is recorded of a prompt is what the pipeline reads of it: its tokens, their classes, and their words."""

import pytest
import torch

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import SITE_KINDS, TokenClass
from tests.toy import MAX_POSITIONS, build_toy_pipe
from tests.toy_variants import INVERTED, build_bert_pipe, build_inverted_pipe

PROMPTS = ["a red star", "", "x" * 99, "naïve 猫"]
START, PROMPT, END, PADDING = TokenClass.START, TokenClass.PROMPT, TokenClass.END, TokenClass.PADDING


@pytest.fixture
def denoiser(toy_pipe) -> Denoiser:
    return open_denoiser(toy_pipe)


@pytest.fixture(scope="module")
def inverted() -> Denoiser:
    return open_denoiser(build_inverted_pipe())


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Denoiser:
    return open_denoiser(build_bert_pipe(tmp_path_factory.mktemp("bert")))


def assert_encodes_as_the_pipeline(denoiser: Denoiser, prompts: list[str]) -> None:
    """In `encode`, and in what the pipeline's own call passes to its denoiser."""
    encoded = denoiser.encode(prompts).conditioning.tensors["prompt_embeds"]
    assert torch.equal(encoded, denoiser.pipe.encode_prompt(prompts, "cpu", 1, False)[0])
    assert torch.equal(encoded, denoiser.first_call(prompts, 2)["encoder_hidden_states"])


def padded(classes: list[TokenClass]) -> list[TokenClass]:
    return classes + [PADDING] * (MAX_POSITIONS - len(classes))


def test_prompts_are_encoded_as_the_pipeline_does(denoiser):
    assert_encodes_as_the_pipeline(denoiser, PROMPTS)
    empty = denoiser.encode([""]).conditioning
    assert torch.equal(
        denoiser.unconditional(3).tensors["prompt_embeds"], empty.tensors["prompt_embeds"].repeat(3, 1, 1)
    )


def test_prompts_are_encoded_as_the_pipeline_does_if_padding_is_another_token_or_masked():
    pipe = build_toy_pipe()
    pipe.tokenizer.pad_token = "!"
    pipe.text_encoder.config.use_attention_mask = True
    denoiser = open_denoiser(pipe)
    assert_encodes_as_the_pipeline(denoiser, ["ab", "longer"])
    encoded = denoiser.encode(["ab", "longer"])
    assert encoded.input_ids["text_encoder"][0, -1] == pipe.tokenizer.convert_tokens_to_ids("!")
    assert encoded.main_classes[0].tolist() == padded([START, PROMPT, PROMPT, END])


def test_each_prompt_is_tokenized_once_and_the_pipeline_stays_as_it_was(monkeypatch):
    pipe = build_toy_pipe()
    denoiser, before = open_denoiser(pipe), dict(vars(pipe))
    calls: list[list[str]] = []
    call = type(pipe.tokenizer).__call__

    def count(tokenizer, texts, *arguments, **options):
        calls.append(texts)
        return call(tokenizer, texts, *arguments, **options)

    monkeypatch.setattr(type(pipe.tokenizer), "__call__", count)
    denoiser.encode(PROMPTS)
    assert calls == [PROMPTS]
    assert vars(pipe) == before
    assert pipe.maybe_convert_prompt.__func__ is type(pipe).maybe_convert_prompt


def test_rows_are_those_of_their_prompts(denoiser):
    encoded, rows = denoiser.encode(PROMPTS), denoiser.encode(PROMPTS).rows(slice(2, 4))
    assert len(rows) == 2
    assert rows.texts == tuple(PROMPTS[2:])
    assert rows.is_truncated == encoded.is_truncated[2:]
    assert torch.equal(rows.main_classes, encoded.main_classes[2:])
    assert torch.equal(rows.input_ids["text_encoder"], encoded.input_ids["text_encoder"][2:])
    assert torch.equal(rows.conditioning.tensors["prompt_embeds"], encoded.conditioning.tensors["prompt_embeds"][2:])


def test_prompts_that_do_not_fit_are_marked(denoiser):
    prompts = ["x" * (MAX_POSITIONS - 2), "x" * (MAX_POSITIONS - 1), ""]
    encoded = denoiser.encode(prompts)
    assert encoded.is_truncated == (False, True, False)
    assert denoiser.find_truncated(prompts) == prompts[1:2]
    written_out = "a star<|endoftext|> " + "x" * 99  # its padding begins before the words that are cut
    assert denoiser.encode([written_out]).is_truncated == (True,)
    assert denoiser.find_truncated([written_out]) == [written_out]
    fits, too_long, _ = encoded.input_ids["text_encoder"]
    assert torch.equal(fits[:-2], too_long[:-2])  # the last letter ends its word in one only


def test_every_position_has_its_class(denoiser):
    encoded = denoiser.encode(["ab", "", "x" * 99])
    classes = encoded.main_classes.tolist()
    assert classes[0] == padded([START, PROMPT, PROMPT, END])
    assert classes[1] == padded([START, END])
    assert classes[2] == [START, *[PROMPT] * (MAX_POSITIONS - 2), END]


def test_tokens_have_their_names_and_the_vocabulary_is_in_the_order_of_ids(denoiser, toy_pipe):
    encoded = denoiser.encode(["ab"])
    assert denoiser.text.token_names(encoded.input_ids)[:4] == ["<|startoftext|>", "a", "b</w>", "<|endoftext|>"]
    vocabulary = denoiser.text.vocabulary()
    assert len(vocabulary) == len(toy_pipe.tokenizer)
    assert toy_pipe.tokenizer.convert_tokens_to_ids(vocabulary) == list(range(len(vocabulary)))


def test_an_inversion_of_several_vectors_is_read_as_the_pipeline_reads_it(inverted):
    prompt = "a <toy> star"
    assert_encodes_as_the_pipeline(inverted, [prompt, "a star", "<toy>"])
    encoded = inverted.encode([prompt])
    names = ["<|startoftext|>", "a</w>", *INVERTED, "s", "t", "a", "r</w>", "<|endoftext|>"]
    assert inverted.text.token_names(encoded.input_ids)[: len(names)] == names
    assert encoded.main_classes[0].tolist() == padded([START, *[PROMPT] * 8, END])
    assert encoded.texts == (prompt,)


def test_an_inversions_vectors_count_when_prompts_are_cut(inverted):
    n_left = MAX_POSITIONS - 2 - len(INVERTED)
    prompts = ["x" * n_left + " <toy>", "x" * (n_left + 1) + " <toy>"]
    assert inverted.encode(prompts).is_truncated == (False, True)
    assert inverted.find_truncated(prompts) == prompts[1:]


def test_token_embeddings_of_an_inversion_are_its_vectors(inverted):
    encoded = inverted.encode(["a <toy> star"])
    vectors = inverted.token_embeddings(encoded)
    own = inverted.pipe.text_encoder.get_input_embeddings().weight[-len(INVERTED) :]
    assert torch.equal(vectors["text_encoder"][0, 2 : 2 + len(INVERTED)], own)
    again = inverted.encode_from(vectors, encoded)
    assert torch.equal(again.tensors["prompt_embeds"], encoded.conditioning.tensors["prompt_embeds"])


def test_a_bert_text_encoder_is_read_as_the_pipeline_reads_it(bert):
    assert bert.pipe.tokenizer.eos_token_id is None
    assert bert.pipe.tokenizer.bos_token_id is None
    assert_encodes_as_the_pipeline(bert, ["ab c", "", "x" * 99])
    encoded = bert.encode(["ab c", "", "x " * 99])
    classes = encoded.main_classes.tolist()
    assert classes[0] == padded([START, PROMPT, PROMPT, PROMPT, END])
    assert classes[1] == padded([START, END])
    assert classes[2] == [START, *[PROMPT] * (MAX_POSITIONS - 2), END]
    assert encoded.is_truncated == (False, False, True)
    assert bert.text.token_names(encoded.input_ids)[:6] == ["[CLS]", "a", "##b", "c", "[SEP]", "[PAD]"]


def test_a_bert_text_encoder_has_sites_and_its_token_embeddings_move(bert):
    assert {site.kind for site in bert.sites(SITE_KINDS)} == set(SITE_KINDS)
    assert len(bert.sites(["text_mlp"])) == bert.pipe.text_encoder.config.num_hidden_layers
    encoded, other = bert.encode(["ab c"]), bert.encode(["xy z"])
    changed = bert.encode_from(bert.token_embeddings(other), encoded)
    assert torch.equal(changed.tensors["prompt_embeds"], other.conditioning.tensors["prompt_embeds"])
