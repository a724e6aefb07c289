"""A run takes over what another recorded of the same base: complete shards with its fingerprint, nothing else."""

import errno
import os
from pathlib import Path

import pytest

from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.stages.kept.adopted import adopt_base_shards
from flashbulb.audit.stages.kept.recorded import open_recorded
from flashbulb.audit.stages.kept.resume import restore_settings
from flashbulb.audit.stages.results.state import Inputs as AuditInputs
from tests.audit.commands import digests, run_flashbulb
from tests.audit.conftest import Inputs
from tests.toy import build_toy_pipe

BASE = Path("activations") / "baseline"


@pytest.fixture(scope="module")
def models(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    other = tmp_path_factory.mktemp("models") / "other"
    build_toy_pipe(seed=1).save_pretrained(other)
    return ("--model", other, "--baseline-model", inputs.model)


def recorded(inputs: Inputs, models: tuple[object, ...], out: Path, seeds: int) -> Path:
    files = ("--prompts", inputs.prompts, "--reference", inputs.reference, "--out", out, "--shard-size", "4")
    answer = run_flashbulb("record", *models, *files, "--seeds", seeds, "--detectors", "none")
    assert answer.code == 0, answer.err
    return out


@pytest.fixture(scope="module")
def donor(inputs: Inputs, models: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(inputs, models, tmp_path_factory.mktemp("donor") / "run", 2)


def inputs_of(run: Path) -> AuditInputs:
    with RunDirectory.reopen(run) as opened:
        return open_recorded(run, restore_settings(opened, {})).inputs


def shards_of(run: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(run / BASE).items() if "part-" in name}


def test_every_complete_shard_is_shared(donor: Path, tmp_path: Path) -> None:
    adopt_base_shards(inputs_of(donor), tmp_path, [tmp_path / "nothing", donor])
    assert shards_of(tmp_path) == shards_of(donor)
    n_parts, n_halves, n_files = 3 + 2, 2, 2  # of both sets; prompt and step sites; a part and its manifest
    assert len(shards_of(donor)) == n_parts * n_halves * n_files
    assert all((tmp_path / BASE / name).samefile(donor / BASE / name) for name in shards_of(donor))
    assert not list(tmp_path.rglob("*.part"))


def test_shards_are_copied_where_there_are_no_links(
    donor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    adopt_base_shards(inputs_of(donor), tmp_path, [donor])
    assert shards_of(tmp_path) == shards_of(donor)
    assert not any((tmp_path / BASE / name).samefile(donor / BASE / name) for name in shards_of(donor))


def test_a_recording_with_other_settings_is_not_taken_over(
    donor: Path, inputs: Inputs, models: tuple[object, ...], tmp_path: Path
) -> None:
    other = recorded(inputs, models, tmp_path / "other", 1)
    adopt_base_shards(inputs_of(other), tmp_path / "run", [donor])
    assert not shards_of(tmp_path / "run")


def test_a_damaged_shard_is_not_taken_over(donor: Path, tmp_path: Path) -> None:
    adopt_base_shards(inputs_of(donor), tmp_path / "a", [donor])
    damaged = tmp_path / "a" / BASE / "reference" / "step" / "part-00001.parquet"
    content = damaged.read_bytes()
    damaged.unlink()  # the donor keeps its own
    damaged.write_bytes(content[:-1])
    adopt_base_shards(inputs_of(donor), tmp_path / "b", [tmp_path / "a"])
    missing = {f"reference/step/part-00001.{suffix}" for suffix in ("parquet", "json")}
    assert shards_of(tmp_path / "b").keys() == shards_of(donor).keys() - missing


def test_what_a_run_has_is_left_alone(donor: Path, tmp_path: Path) -> None:
    adopt_base_shards(inputs_of(donor), tmp_path, [donor])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    adopt_base_shards(inputs_of(donor), tmp_path, [donor])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
