"""A calibration that is damaged, or a folder that is none, is refused in one line."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from flashbulb.hooks.files import sealed, unsealed
from flashbulb.reports.tables.files import SCHEMA_VERSION
from tests.audit.cli.damage import flip_a_byte, remove
from tests.audit.cli.reference.conftest import FAST, audit_options
from tests.audit.commands import digests, refused


def edit(**entries: object) -> Callable[[Path], None]:
    """Change entries of calibration.json and its seal with them."""

    def damage(folder: Path) -> None:
        content = unsealed(folder / "calibration.json")
        (folder / "calibration.json").write_text(sealed(content | entries), encoding="utf-8")

    return damage


def replace(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def tear(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:200]) and None


def drop_prompts(folder: Path) -> None:
    pd.read_parquet(folder / "prompts.parquet").iloc[:3].to_parquet(folder / "prompts.parquet")


STEP_SHARD = "activations/reference/step/part-00000.parquet"
VISIBLE_DAMAGE = {
    "no calibration.json": (remove("calibration.json"), "holds no finished calibration"),
    "no prompts": (remove("prompts.parquet"), "prompts.parquet is missing or damaged"),
    "torn calibration.json": (tear("calibration.json"), "is damaged"),
    "empty calibration.json": (replace("calibration.json", b"\n"), "is damaged"),
    "a list": (replace("calibration.json", b"[]"), "is damaged"),
    "a bare object": (replace("calibration.json", b"{}"), "is damaged"),
    "not UTF-8": (replace("calibration.json", b"\xff\xfe"), "is damaged"),
    "torn prompts": (tear("prompts.parquet"), "prompts.parquet is missing or damaged"),
    "text for prompts": (replace("prompts.parquet", b"prompt_id,text\n"), "prompts.parquet is missing or damaged"),
    "fewer prompts than rows": (drop_prompts, "prompts.parquet is missing or damaged"),
    "version is text": (edit(schema_version="new"), "is damaged"),
    "prompts described by nothing": (edit(prompts=None), "is damaged"),
    "newer": (edit(schema_version=99), f"99, newer than {SCHEMA_VERSION}; upgrade flashbulb"),
}


SHARD_DAMAGE = {
    "identity is text": edit(identity="mine"),
    "no identity": edit(identity=None),
    "no shard": remove(STEP_SHARD),
    "torn shard": tear(STEP_SHARD),
    "bit flip in a shard": flip_a_byte(STEP_SHARD),
    "more shards than there are": edit(n_shards=7),
    "no shards": edit(n_shards=0),
    "shards elsewhere": edit(shards="nowhere"),
}


@pytest.mark.parametrize("kind", VISIBLE_DAMAGE)
def test_damaged_calibration_is_one_line(inputs, damaged, tmp_path, kind):
    damage, expected = VISIBLE_DAMAGE[kind]
    damage(damaged)
    assert expected in refused("audit", *audit_options(inputs, damaged, tmp_path / "run", *FAST))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", SHARD_DAMAGE)
def test_calibration_of_damaged_shards_is_one_line(inputs, damaged, tmp_path, kind):
    SHARD_DAMAGE[kind](damaged)
    refused("audit", *audit_options(inputs, damaged, tmp_path / "run", *FAST))


def test_folder_that_is_not_a_calibration_is_one_line(inputs, calibrated, tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path, calibrated.run, inputs.prompts):
        line = refused("audit", *audit_options(inputs, folder, tmp_path / "run", *FAST))
        assert "make one with flashbulb calibrate" in line


def test_calibration_is_not_accepted_as_an_audit(inputs, damaged):
    before = digests(damaged)
    assert refused("gate", damaged, code=3)
    assert "choose another --out" in refused("audit", *inputs.options(damaged))
    assert digests(damaged) == before
