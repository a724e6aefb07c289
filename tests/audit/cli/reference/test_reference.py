"""`flashbulb reference` writes a file of prompts that an audit takes, and overwrites nothing."""

import json
from pathlib import Path

from flashbulb.audit.planted.paths import CAPTIONS
from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.commands import refused, run_flashbulb, text_file


def test_the_file_holds_as_many_prompts_as_asked(tmp_path: Path) -> None:
    out = tmp_path / "clean.txt"
    answer = run_flashbulb("reference", CAPTIONS, "--number", 40, "--out", out)
    assert answer.code == 0
    assert "40 prompts in" in answer.out
    assert len(read_prompts(str(out)).prompts) == 40


def test_training_captions_are_read(tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    run_flashbulb("reference", CAPTIONS, "--number", 20, "--out", first)
    options = ("--number", 20, "--training-captions", first, "--out", second, "--json")
    answer = run_flashbulb("reference", CAPTIONS, *options)
    assert json.loads(answer.out)["n_prompts"] == 20
    assert not {*first.read_text().splitlines()} & {*second.read_text().splitlines()}


def test_mistakes_change_nothing(tmp_path: Path) -> None:
    few = text_file(tmp_path / "few.txt", ["a star", "one moon"])
    assert "exists; remove it" in refused("reference", CAPTIONS, "--out", few)
    assert "name the file .txt" in refused("reference", CAPTIONS, "--out", tmp_path / "clean.csv")
    assert "give 0 new captions, not 300; ask for fewer" in refused("reference", few, "--out", tmp_path / "clean.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["few.txt"]
