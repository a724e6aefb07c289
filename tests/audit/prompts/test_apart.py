"""Prompts of one set that are left out of another leave no row behind."""

from pathlib import Path

from flashbulb.audit.prompts.apart import count_alike, describe_audited, leave_out, without_audited
from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import texts_of, written


def test_what_is_left_out_is_counted_as_if_its_rows_were_not_in_the_file(tmp_path: Path) -> None:
    whole = read_prompts(written(tmp_path / "whole.csv", "prompt,id\na,1\nb,2\na,3\nc,4\n,5\nb,6\n"))
    lesser = read_prompts(written(tmp_path / "lesser.csv", "prompt,id\na,1\na,3\nc,4\n,5\n"))
    left = leave_out(whole, {prompt.prompt_id for prompt in whole.prompts if prompt.text == "b"})
    for name in ("n_distinct", "n_rows", "n_empty", "n_duplicates"):
        assert getattr(left, name) == getattr(lesser, name), name
    assert texts_of(left) == texts_of(lesser)
    assert leave_out(whole, ()) == whole


def test_a_reference_prompt_that_a_tokenizer_reads_like_an_audited_one_is_left_out(
    tmp_path: Path,
) -> None:
    candidates = read_prompts(written(tmp_path / "captions.txt", "A red  Star\nSTRASSE\na moon\nCaf\u00e9\n"))
    reference = read_prompts(written(tmp_path / "clean.txt", "a red star\na red star!\nStraße\na sun\ncafe\u0301\n"))
    kept = without_audited(reference, candidates)
    assert texts_of(kept) == ["a red star!", "a sun"]
    assert kept.n_audited == 3
    assert describe_audited(kept).startswith(f"3 reference prompts of {reference.source} left out")
    assert without_audited(kept, reference).n_audited == 2


def test_texts_that_a_tokenizer_reads_alike_are_counted() -> None:
    assert count_alike([]) == count_alike(["a", "b"]) == 0
    assert count_alike(["Caf\u00e9", "a  star", "CAFE\u0301", "A STAR", "a star ", "a star!"]) == 3
