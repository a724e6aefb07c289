"""Prompts on standard input are read as the file would be that they come from."""

import gzip
import hashlib
from pathlib import Path

import pytest

from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import NASTY, give_stdin, refusal, renderings, texts_of, written


@pytest.mark.parametrize("name", sorted(renderings(["x"])))
def test_standard_input_gives_what_the_named_file_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    content = renderings(NASTY)[name]
    from_file = read_prompts(written(tmp_path / name, content))
    for data in (content.encode(), gzip.compress(content.encode())):
        give_stdin(monkeypatch, data)
        from_stdin = read_prompts("-")
        assert texts_of(from_stdin) == texts_of(from_file)
        assert from_stdin.text_column == from_file.text_column
        assert from_stdin.sha256 == hashlib.sha256(data).hexdigest()
        assert from_stdin.source == from_stdin.prompts[0].source_file == "standard input"


@pytest.mark.parametrize("first", ["[photo] of a cat, sitting", "{cat|dog} on a mat", '"Hi" she said', "a; b"])
def test_standard_input_of_plain_lines_is_read_as_txt(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    give_stdin(monkeypatch, f"{first}\nsecond line\n")
    assert texts_of(read_prompts("-")) == [first, "second line"]


def test_broken_json_on_standard_input_is_not_read_as_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in ('["a cat",\n"a dog"', '{"prompt": "a cat"}\n{"prompt": \n'):
        give_stdin(monkeypatch, content)
        assert "broken JSON" in refusal("-")


def test_a_named_column_is_found_in_the_header_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, "id;title\n1;a cat\n")
    assert texts_of(read_prompts("-", "title")) == ["a cat"]
    give_stdin(monkeypatch, "id;title\n1;a cat\n")
    assert "--text-column" in refusal("-", "name")
