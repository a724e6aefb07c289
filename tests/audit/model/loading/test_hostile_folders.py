"""Folders that are wrong on purpose run no code, and each is refused in one line; odd folders load."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.audit.model.loading.folders import Change
from tests.audit.model.loading.hostile_code import CODE, JSON
from tests.audit.model.loading.hostile_numbers import NUMBERS, RULES, UNTRUSTED
from tests.audit.model.loading.hostile_weights import FILES, KEYS
from tests.audit.model.loading.odd_folders import GOOD
from tests.audit.model.loading.opened import open_all
from tests.audit.model.loading.pickles import ALLOWED

HOSTILE = CODE | FILES | KEYS | NUMBERS | RULES | JSON
FEW = {
    name: HOSTILE[name] for kind in (CODE, FILES, KEYS, NUMBERS, RULES, JSON) for name in list(kind)[:: len(kind) // 6]
}
"""At least six of each kind."""


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
