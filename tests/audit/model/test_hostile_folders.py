"""Folders that are wrong on purpose run no code, and each is refused in one line; odd folders load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.audit.model.folders import Change, linked_copy, ran
from tests.audit.model.hostile_code import CODE, JSON
from tests.audit.model.hostile_numbers import NUMBERS, RULES, UNTRUSTED
from tests.audit.model.hostile_weights import ALLOWED, FILES, KEYS
from tests.audit.model.odd_folders import GOOD
from tests.processes import fork_python

HOSTILE = CODE | FILES | KEYS | NUMBERS | RULES | JSON
FEW = {
    name: HOSTILE[name] for kind in (CODE, FILES, KEYS, NUMBERS, RULES, JSON) for name in list(kind)[:: len(kind) // 6]
}
"""At least six of each kind."""

OPEN = """
import contextlib, io, json, os, sys
from pathlib import Path
from flashbulb.audit.cli import app

answers, ends = os.pipe()
os.write(ends, b"y\\n" * 1000)
os.dup2(answers, 0)
sys.stdin = os.fdopen(0)
for folder in Path(sys.argv[1]).read_text().splitlines():
    lines = io.StringIO()
    with contextlib.redirect_stderr(lines), contextlib.redirect_stdout(io.StringIO()):
        try:
            app(["sites", folder, *sys.argv[2:]])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException as error:
            code = repr(error)
    print(json.dumps([code, lines.getvalue()]), flush=True)
"""
"""Opens every folder that a file lists as a command does, with "y" on standard input for all that is asked."""


class Opened(NamedTuple):
    code: int | str
    err: str
    ran: bool


@pytest.fixture(scope="module")
def saved(toy_pipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "toy"
    toy_pipe.save_pretrained(folder)
    return folder


def open_all(saved: Path, place: Path, changes: Mapping[str, Change], *options: str) -> dict[str, Opened]:
    folders = []
    for number, change in enumerate(changes.values()):
        folder = linked_copy(saved, place / str(number) / "model")
        change(folder)
        folders.append(folder)
    listed = place / "folders.txt"
    listed.write_text("\n".join(map(str, folders)))
    answers = fork_python(OPEN, listed, *options).wait().out.splitlines()
    opened = [Opened(*json.loads(line), ran(folder).exists()) for folder, line in zip(folders, answers, strict=True)]
    return dict(zip(changes, opened, strict=True))


def assert_refused(
    saved: Path, place: Path, hostile: Mapping[str, tuple[Change, str]], *options: str, code: int = 2
) -> None:
    opened = open_all(saved, place, {name: change for name, (change, _) in hostile.items()}, *options)
    assert [name for name, answer in opened.items() if answer.ran] == []
    wrong = {
        name: (answer.code, answer.err)
        for name, answer in opened.items()
        if answer.code != code or answer.err.count("\n") != 1 or hostile[name][1] not in answer.err
    }
    assert wrong == {}


def test_hostile_folders_run_no_code_and_are_refused_in_one_line(saved, tmp_path):
    assert_refused(saved, tmp_path, FEW)


@pytest.mark.slow
def test_all_hostile_folders_run_no_code_and_are_refused_in_one_line(saved, tmp_path):
    assert len(HOSTILE) > 250
    assert_refused(saved, tmp_path, HOSTILE)


def test_permission_to_load_pickles_permits_no_code(saved, tmp_path):
    assert_refused(saved, tmp_path, ALLOWED, "--allow-pickle")


def test_numbers_that_no_model_is_trained_with_are_not_to_be_trusted(saved, tmp_path):
    assert_refused(saved, tmp_path, UNTRUSTED, code=3)


def test_odd_folders_load(saved, tmp_path):
    opened = open_all(saved, tmp_path, GOOD)
    assert [name for name, answer in opened.items() if answer.ran] == []
    assert {name: answer.code for name, answer in opened.items()} == dict.fromkeys(GOOD, 0)
    named = [name for name, answer in opened.items() if answer.err]
    assert named == ["a projection that is not read"]
    assert "1 weights are not used, first 'text_projection.weight'" in opened[named[0]].err
