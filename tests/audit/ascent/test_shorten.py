"""A prompt loses the words without which its neurons spike highest, and every word tried is paid for."""

import pytest
import torch

from flashbulb.audit.ascent import shorten
from flashbulb.audit.ascent.shorten import best_shortenings, leave_words_out, random_shortenings
from flashbulb.audit.model.sampling import sample_generator

PROMPTS = ["a red star on a plain hill", "the sea", "grey  boats, far out at night"]
N_HIGHEST = 5


def left_out(scored, prompts, n_words, batch_size=4):
    generators = [sample_generator(0, prompt, 0) for prompt in prompts]
    return leave_words_out(scored.denoiser, scored.scores, prompts, n_words, N_HIGHEST, generators, batch_size)


def spike_of(scored, start, text):
    """The mean of the highest z of a text at the noise of the prompt it came from."""
    latents = scored.denoiser.noise([sample_generator(0, start, 0)])
    z = scored.scores(latents, scored.denoiser.encode([text]).conditioning)
    return float(z.topk(N_HIGHEST, dim=1).values.mean())


def test_the_word_is_left_out_without_which_neurons_spike_highest(precise):
    for prompt, shortened in zip(PROMPTS, left_out(precise, PROMPTS, 1), strict=True):
        words = prompt.split()
        variants = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))] if len(words) > 2 else [prompt]
        with torch.no_grad():
            assert shortened.text == max(variants, key=lambda text: spike_of(precise, prompt, text))


def test_words_are_left_out_one_after_the_other_until_two_are_left(scored):
    for n_words in range(4):
        lengths = [len(shortened.text.split()) for shortened in left_out(scored, PROMPTS, n_words)]
        assert lengths == [7 - n_words, 2, 6 - n_words]
    assert [len(shortened.text.split()) for shortened in left_out(scored, PROMPTS, 9)] == [2, 2, 2]


def test_every_word_tried_costs_one_evaluation(scored):
    before = scored.denoiser.evaluations
    spent = [shortened.evaluations for shortened in left_out(scored, PROMPTS, 2)]
    assert spent == [7 + 6, 0, 6 + 5]
    assert scored.denoiser.evaluations - before == sum(spent)


def test_without_a_word_to_leave_out_the_prompt_stays_as_it_is(scored):
    assert [shortened.text for shortened in left_out(scored, PROMPTS, 0)] == PROMPTS
    assert left_out(scored, ["the sea", "жар", ""], 2) == [("the sea", 0), ("жар", 0), ("", 0)]


def test_a_prompt_does_not_depend_on_the_others(precise):
    together = left_out(precise, PROMPTS, 2)
    assert [left_out(precise, [prompt], 2, batch_size=1)[0] for prompt in PROMPTS] == together


def test_a_long_prompt_costs_no_more_than_a_few_words(scored, monkeypatch):
    monkeypatch.setattr(shorten, "MAX_TRIED", 3)
    (shortened,) = left_out(scored, PROMPTS[:1], 2)
    assert (len(shortened.text.split()), shortened.evaluations) == (5, 6)


def drawn(text, n, seed=0):
    return random_shortenings(text, n, sample_generator(seed, text, 0))


def test_random_shortenings_are_what_is_left_of_one_to_three_words_in_their_order():
    texts, words = drawn(PROMPTS[0], 40), PROMPTS[0].split()
    assert {len(words) - len(text.split()) for text in texts} == {1, 2, 3}
    assert len(set(texts)) > 10
    for text in texts:
        rest = iter(words)
        assert all(word in rest for word in text.split())
    assert texts == drawn(PROMPTS[0], 40) != drawn(PROMPTS[0], 40, seed=1)


@pytest.mark.parametrize(("text", "left"), [("a red star", 2), ("red star", 2), ("star", 1), ("", 0)])
def test_random_shortenings_of_a_short_prompt_keep_two_words(text, left):
    assert {len(shorter.split()) for shorter in drawn(text, 9)} == {left}


def test_the_best_shortenings_spike_highest_and_each_tried_costs_one_evaluation(precise):
    before, generators = precise.denoiser.evaluations, [sample_generator(0, prompt, 0) for prompt in PROMPTS]
    chosen = best_shortenings(precise.denoiser, precise.scores, PROMPTS, 9, 3, N_HIGHEST, generators, 4)
    assert sum(best.evaluations for best in chosen) == precise.denoiser.evaluations - before
    for prompt, best in zip(PROMPTS, chosen, strict=True):
        generator = sample_generator(0, prompt, 0)
        precise.denoiser.noise([generator])  # the noise at which texts are compared is drawn first
        tried = list(dict.fromkeys([prompt, *random_shortenings(prompt, 8, generator)]))
        with torch.no_grad():
            highest = sorted(tried, key=lambda text: -spike_of(precise, prompt, text))[:3]
        assert (best.texts, best.evaluations) == ((highest + highest[:1] * 3)[:3], len(tried))
