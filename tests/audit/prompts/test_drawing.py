"""A draw is uniform, and depends on the seed and on the texts alone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashbulb.audit.prompts.drawing import draw, draw_set
from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import texts_of, written

TEXTS = [f"a photo of {number}" for number in range(60)]


def prompts_of(texts: list[str]) -> list[Prompt]:
    return [Prompt(text, text, "captions.txt", row, 1) for row, text in enumerate(texts, start=1)]


@given(st.permutations(TEXTS), st.integers(0, 70), st.integers(0, 2**31 - 1))
def test_a_draw_does_not_depend_on_the_order_of_rows(shuffled: list[str], n: int, seed: int) -> None:
    drawn, drawn_of_shuffled = (draw(prompts_of(texts), n, seed, "sample") for texts in (TEXTS, shuffled))
    assert {p.text for p in drawn} == {p.text for p in drawn_of_shuffled}
    assert len(drawn) == min(n, len(TEXTS))
    assert [p.source_row for p in drawn] == sorted(p.source_row for p in drawn)


def test_a_draw_does_not_depend_on_duplicates_and_file_format(tmp_path) -> None:
    plain = read_prompts(written(tmp_path / "a.txt", "\n".join(TEXTS)))
    doubled = read_prompts(written(tmp_path / "b.csv", "prompt\n" + "\n".join([*TEXTS[::-1], *TEXTS[:30] * 9])))
    drawn, drawn_of_doubled = (draw_set(prompts, 20, seed=5) for prompts in (plain, doubled))
    assert set(texts_of(drawn)) == set(texts_of(drawn_of_doubled))
    assert drawn_of_doubled.n_rows == 330
    assert drawn_of_doubled.n_distinct == 60
    assert {p.n_duplicates for p in drawn_of_doubled.prompts} == {1, 10}


def test_a_larger_draw_holds_every_smaller_one_of_its_seed() -> None:
    smaller, larger = (set(draw(prompts_of(TEXTS), n, 3, "sample")) for n in (10, 40))
    assert smaller < larger


def test_every_prompt_is_drawn_equally_often() -> None:
    counts = Counter(p.text for seed in range(2000) for p in draw(prompts_of(TEXTS[:40]), 10, seed, "sample"))
    assert len(counts) == 40
    assert all(abs(n - 500) < 5 * 19.4 for n in counts.values())  # binomial: 2000 draws at 1/4, sd 19.4
    pairs = Counter(
        second.text in {p.text for p in draw(prompts_of(TEXTS[:40]), 10, seed, "sample")}
        for seed in range(2000)
        for second in draw(prompts_of(TEXTS[:40]), 1, seed, "propensity")
    )
    assert abs(pairs[True] - 500) < 5 * 19.4  # draws of two purposes are independent


def test_more_prompts_than_the_file_has_are_refused_in_one_line(tmp_path) -> None:
    prompts = read_prompts(written(tmp_path / "a.txt", "a cat\na dog\na cat"))
    assert draw_set(prompts, 2, 0) == prompts
    with pytest.raises(PromptFileError, match=r"a\.txt: --sample 3 is more than its 2 distinct prompts; draw fewer"):
        draw_set(prompts, 3, 0)
