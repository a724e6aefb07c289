"""A run directory belongs to one audit: the same audit resumes it, others are refused, --force empties it."""

import json
from functools import partial
from pathlib import Path

import pytest

from flashbulb.audit.run.directory import RunDirectory, RunDirectoryError, fingerprint_of
from flashbulb.reports.tables.files import SCHEMA_VERSION
from tests.refusals import refused_line

IDENTITY = {"model": "aaaa", "prompts": "bbbb", "settings": {"fpr": 0.01, "n_seeds": 4}}
OTHER = {**IDENTITY, "settings": {"fpr": 0.05, "n_seeds": 4}}


def start(path: Path, identity=IDENTITY, *, force: bool = False) -> RunDirectory:
    with RunDirectory.open(path, identity, force=force) as run:
        return run


refusal = partial(refused_line, RunDirectoryError, start)


def record(path: Path) -> dict:
    return json.loads((path / "run.json").read_text())


def contents(path: Path) -> dict[str, bytes]:
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def fill(path: Path) -> None:
    (path / "activations" / "deep").mkdir(parents=True)
    (path / "activations" / "deep" / "part-00000.parquet").write_bytes(b"rows")
    (path / "summary.md").write_text("done")


@pytest.mark.parametrize("force", [False, True])
def test_new_directory_is_claimed(tmp_path, force):
    start(tmp_path / "a" / "b", force=force)
    assert record(tmp_path / "a" / "b") == {
        "schema_version": SCHEMA_VERSION,
        "identity": IDENTITY,
        "status": "running",
    }
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["run.json"]


def test_empty_directory_is_claimed(tmp_path):
    start(tmp_path)
    assert record(tmp_path)["identity"] == IDENTITY


def test_same_audit_keeps_everything_except_the_verdict(tmp_path):
    start(tmp_path).update(status="complete", counts={"n": 3})
    fill(tmp_path)
    before = contents(tmp_path)
    start(tmp_path, json.loads(json.dumps(IDENTITY)))
    after = contents(tmp_path)
    assert before.keys() - after.keys() == {"summary.md"}
    assert {name for name in after if before[name] != after[name]} == {"run.json"}
    assert record(tmp_path)["status"] == "running"


def test_another_audit_is_refused_with_both_values_and_changes_nothing(tmp_path):
    start(tmp_path)
    fill(tmp_path)
    before = contents(tmp_path)
    message = refusal(tmp_path, OTHER)
    assert "settings.fpr was 0.01, now 0.05;" in message
    assert "--force" in message
    assert "(and 2 more differ)" in refusal(tmp_path, {**OTHER, "model": "cccc", "dtype": "float16"})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("identity", [IDENTITY, OTHER])
def test_force_starts_over(tmp_path, identity):
    start(tmp_path)
    fill(tmp_path)
    start(tmp_path, identity, force=True)
    assert list(contents(tmp_path)) == ["run.json"]
    assert record(tmp_path)["identity"] == identity


def test_force_does_not_follow_links_out_of_the_directory(tmp_path):
    start(tmp_path / "run")
    fill(tmp_path / "outside")
    (tmp_path / "run" / "link").symlink_to(tmp_path / "outside")
    start(tmp_path / "run", OTHER, force=True)
    assert len(contents(tmp_path / "outside")) == 2


def test_images_in_another_place_are_refused_at_the_start(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    run = tmp_path / "run"
    start(run)
    (run / "images").symlink_to(tmp_path / "elsewhere")
    assert "images is a link" in refusal(run)
    (tmp_path / "other").symlink_to(tmp_path / "elsewhere")
    start(tmp_path / "other")
    assert record(tmp_path / "elsewhere")["status"] == "running"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "foreign", [None, "{}", '{"name": "my run"}', "[1]", "null", '{"schema_version": 1, "identity": {"mod', ""]
)
def test_folder_without_a_valid_run_json_is_never_touched(tmp_path, force, foreign):
    fill(tmp_path)
    if foreign is not None:
        (tmp_path / "run.json").write_text(foreign)
    before = contents(tmp_path)
    assert "choose another --out" in refusal(tmp_path, force=force)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("force", [False, True])
def test_newer_version_is_refused(tmp_path, force):
    start(tmp_path).update(schema_version=SCHEMA_VERSION + 1)
    before = contents(tmp_path)
    assert f"version {SCHEMA_VERSION + 1}, newer than {SCHEMA_VERSION}" in refusal(tmp_path, force=force)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "content", ["{", '{"schema_version": 99, "identity": {}}', '{"schema_version": 1, "identity": {"recording": {}}}']
)
def test_what_cannot_be_reopened_is_refused_without_an_option_that_only_open_has(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunDirectoryError) as refused, RunDirectory.reopen(tmp_path):
        raise AssertionError("it was opened")
    assert str(refused.value).startswith(str(tmp_path))
    assert "--" not in str(refused.value).replace(str(tmp_path), "")


@pytest.mark.parametrize("force", [False, True])
def test_unwritable_path_is_refused_in_one_line(tmp_path, force):
    file = tmp_path / "file"
    file.write_text("mine")
    assert "not a Flashbulb run directory" in refusal(file, force=force)
    assert "cannot be written: Not a directory" in refusal(file / "run", force=force)
    assert "cannot be written: File name too long" in refusal(tmp_path / ("x" * 300), force=force)
    assert file.read_text() == "mine"


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path):
    run = start(tmp_path)
    with pytest.raises(ValueError, match="Out of range float"):
        run.update(p_value=float("nan"))
    assert record(tmp_path)["status"] == "running"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_fingerprint_depends_on_values_and_not_on_their_order():
    assert fingerprint_of({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint_of({"a": 1}) != fingerprint_of({"a": 2})
    assert len(fingerprint_of(IDENTITY)) == 16
