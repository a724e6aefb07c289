"""Every command checks the complete settings file, and refuses one that is wrong or no file in one line."""

import os
from pathlib import Path

import pytest

from tests.audit.commands import error_line, run_flashbulb, text_file
from tests.reports.runs import LEAKS, write_example

FILES = {
    "unknown key": ("sed = 1", "flashbulb.toml: sed is not an option of any command; did you mean seed?"),
    "key of another command": (
        "[gate]\nseeds = 1",
        "flashbulb.toml: [gate] seeds is not an option of flashbulb gate; remove it",
    ),
    "field instead of option": (
        "n_seeds = 1",
        "flashbulb.toml: n_seeds is not an option of any command; did you mean seeds?",
    ),
    "unknown table": ("[adit]\nseeds = 1", "flashbulb.toml: [adit] is not a command; did you mean [audit]?"),
    "unknown subtable": (
        "[waivers.chek]",
        "flashbulb.toml: [waivers.chek] is not a command; did you mean [waivers.check]?",
    ),
    "command as key": ("audit = 1", "flashbulb.toml: audit is a command; set its options in a table [audit]"),
    "list of tables": ("[[audit]]", "flashbulb.toml: audit is a command; set its options in a table [audit]"),
    "both spellings": (
        "batch_size = 1\nbatch-size = 1",
        "flashbulb.toml: batch-size is also given as batch_size; keep",
    ),
    "text for a number": (
        'seeds = "2"',
        "flashbulb.toml: seeds: Input should be a valid integer, got '2'; see `flashbulb ",
    ),
    "number for a flag": ("strict = 1", "flashbulb.toml: strict: Input should be a valid boolean, got 1"),
    "flag for a number": ("seeds = true", "flashbulb.toml: seeds: Input should be a valid integer, got True"),
    "fraction for a count": ("seeds = 1.5", "flashbulb.toml: seeds: Input should be a valid integer"),
    "number for a path": ("[gate]\njunit = 1", "flashbulb.toml: [gate] junit: "),
    "text for a list": ('sites = "cross_v"', "flashbulb.toml: sites: Input should be a valid array, got 'cross_v'"),
    "nothing in a list": (
        "sites = []",
        "flashbulb.toml: sites is an empty list; give it a value, or remove the key",
    ),
    "no choice": ('tiers = "half"', "flashbulb.toml: tiers: Input should be 'full' or 'screened', got 'half'"),
    "argument": ('[gate]\nrun = "x"', "flashbulb.toml: [gate] run can only be set on the command line; remove the key"),
    "no TOML": ("a =", "flashbulb.toml is not TOML ("),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("command", [("gate", "run"), ("waivers", "check", "w.toml")], ids=" ".join)
def test_complete_file_is_checked_by_every_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str, command: tuple[str, ...]
) -> None:
    content, line = FILES[case]
    monkeypatch.chdir(tmp_path)
    text_file(Path("flashbulb.toml"), [content])
    assert error_line(run_flashbulb(*command)).startswith(f"flashbulb: {line}")


def test_help_works_despite_an_invalid_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    text_file(Path("flashbulb.toml"), ["sed = 1"])
    assert run_flashbulb("gate", "--help").code == run_flashbulb("--help").code == 0


def test_file_that_is_not_text_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flashbulb.toml").write_bytes(b"model = '\xff'")
    assert error_line(run_flashbulb("gate", "run")).startswith("flashbulb: flashbulb.toml is not TOML (")
    Path("flashbulb.toml").unlink()
    Path("flashbulb.toml").mkdir()
    assert error_line(run_flashbulb("--config", "flashbulb.toml", "gate", "run")).startswith(
        "flashbulb: flashbulb.toml cannot be read: "
    )


def test_settings_file_that_is_there_but_no_file_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flashbulb.toml").symlink_to("nowhere.toml")
    assert error_line(run_flashbulb("gate", "run")).startswith("flashbulb: flashbulb.toml cannot be read: ")
    Path("flashbulb.toml").unlink()
    Path("flashbulb.toml").symlink_to("flashbulb.toml")
    assert error_line(run_flashbulb("gate", "run")).startswith("flashbulb: flashbulb.toml cannot be read: ")
    Path("flashbulb.toml").unlink()
    os.mkfifo("flashbulb.toml")
    assert error_line(run_flashbulb("gate", "run")).startswith("flashbulb: flashbulb.toml is no file")


def test_files_that_begin_with_a_byte_order_mark_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flashbulb.toml").write_text("\ufeff[gate]\npolicy = 'policy.toml'", encoding="utf-8")
    Path("policy.toml").write_text("\ufeffmax_confirmed = 1", encoding="utf-8")
    answer = run_flashbulb("gate", write_example(tmp_path / "run", LEAKS))
    assert answer.code == 1, answer.err
    assert "Memorized images confirmed: 2 (limit 1)" in answer.out
