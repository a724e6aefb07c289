"""An audit in the bulk layout equals one in the dense layout, whoever records it, interrupted or not."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.audit.cli.workers.conftest import recorded
from tests.audit.commands import digests, refused, run_flashbulb, run_json
from tests.audit.conftest import recording
from tests.processes import fork_flashbulb

SHARDS, BULK = ("--shard-size", "2"), ("--layout", "bulk")


def record(inputs, run: Path, *options: object) -> Path:
    answer = run_flashbulb("record", *recording(inputs, run, *SHARDS, *options))
    assert answer.code == 0, answer.err
    return run


def layouts(run: Path, name: str) -> list[str]:
    manifests = sorted((run / "activations" / name / "prompt").glob("*.json"))
    return [json.loads(path.read_text()).get("layout", "dense") for path in manifests]


@pytest.fixture(scope="module")
def dense(inputs, tmp_path_factory) -> Path:
    """A dense recording. Read-only."""
    return record(inputs, tmp_path_factory.mktemp("dense") / "run")


@pytest.fixture(scope="module")
def bulk(inputs, tmp_path_factory) -> Path:
    """The same in the bulk layout. Read-only."""
    return record(inputs, tmp_path_factory.mktemp("bulk") / "run", *BULK)


def test_candidates_are_reduced_and_the_reference_is_not(dense, bulk):
    assert (layouts(bulk, "reference"), layouts(bulk, "candidates")) == (["dense"] * 6, ["bulk"] * 3)
    assert set(layouts(dense, "candidates")) == {"dense"}
    assert run_json(bulk)["settings"]["layout"] == "bulk"
    assert run_json(dense)["settings"]["layout"] == "dense"  # few prompts, where nothing else is asked for


def test_detection_recovery_and_gate_find_what_they_find_in_a_dense_run(dense, bulk, tmp_path):
    runs = [Path(shutil.copytree(run, tmp_path / name)) for name, run in (("dense", dense), ("bulk", bulk))]
    quick = ("--samples", "2", "--sample-steps", "2", "--ascend-steps", "1", "--ascend-restarts", "1")
    codes = []
    for run in runs:
        assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
        answers = [run_flashbulb("recover", run, *quick), run_flashbulb("report", run), run_flashbulb("gate", run)]
        codes.append([answer.code for answer in answers])
    assert codes[0] == codes[1]
    assert set(codes[0]) <= {0, 1, 3}
    for table in ("scores", "reference_scores", "recoveries"):
        expected, found = (pd.read_parquet(run / f"{table}.parquet") for run in runs)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    expected, found = (pd.read_parquet(run / "spikes.parquet") for run in runs)
    assert len(expected)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
    expected, found = (pd.read_parquet(run / "site_profiles.parquet") for run in runs)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)


def test_without_a_reference_the_first_candidates_stay_dense(inputs, tmp_path):
    run = tmp_path / "run"
    answer = run_flashbulb(
        "record", "--model", inputs.model, "--prompts", inputs.reference, "--out", run, "--seeds", "2", *SHARDS, *BULK
    )
    assert answer.code == 0, answer.err
    assert layouts(run, "candidates") == ["dense"] * 6
    assert run_flashbulb("detect", run).code == 0
    assert np.isfinite(pd.read_parquet(run / "scores.parquet")["spike_score"]).all()


@pytest.mark.slow
def test_workers_and_parts_write_the_same_files(inputs, bulk, tmp_path):
    by_workers, options = tmp_path / "workers", (*SHARDS, *BULK, "--workers", "2")
    ended = fork_flashbulb("record", *recording(inputs, by_workers, *options), environment={"OMP_NUM_THREADS": "1"})
    assert ended.wait().code == 0
    assert recorded(by_workers) == recorded(bulk)
    parts = tmp_path / "parts"
    for number in (2, 1):
        record(inputs, parts, *BULK, "--shard", f"{number}/2")
    assert run_flashbulb("merge", parts).code == 0
    assert recorded(parts) == recorded(bulk)
    assert run_flashbulb("detect", parts).code == 0


def test_parts_that_were_reduced_by_different_baselines_are_not_merged(inputs, tmp_path):
    run = tmp_path / "run"
    for number in (1, 2):
        record(inputs, run, *BULK, "--shard", f"{number}/2")
    second = run.parent / "run.shards" / "2-of-2" / "activations" / "candidates" / "baselines.safetensors"
    content = second.read_bytes()
    second.unlink()  # the parts share one file
    second.write_bytes(content + b" ")
    assert "reduced by different baselines" in refused("merge", run)


def test_damaged_baselines_that_a_part_handed_on_are_not_taken(inputs, bulk, tmp_path):
    run = tmp_path / "run"
    record(inputs, run, *BULK, "--shard", "1/2")
    (shared,) = (tmp_path / "run.shards").glob("*-baselines.safetensors")
    whole = shared.read_bytes()
    shared.unlink()  # it is the file of the part
    shared.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    record(inputs, run, *BULK, "--shard", "2/2")
    assert shared.read_bytes() == whole
    assert run_flashbulb("merge", run).code == 0
    assert recorded(run) == recorded(bulk)


def test_parts_agree_where_the_file_system_has_no_links(inputs, bulk, tmp_path, monkeypatch):
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr("flashbulb.audit.stages.opening.session.find_batch_size", lambda *_: 32)
    run = tmp_path / "run"
    for number in (1, 2):
        record(inputs, run, *BULK, "--batch-size", "auto", "--shard", f"{number}/2")
    assert run_flashbulb("merge", run).code == 0
    assert recorded(run) == recorded(bulk)
    assert not list((tmp_path / "run.shards").glob("batch_size.json.*"))


@pytest.mark.parametrize("lost", ["part-00001.json", "baselines.safetensors", "both", "a bit of baselines.safetensors"])
def test_what_is_lost_is_recorded_again_and_equals_the_rest(inputs, bulk, tmp_path, lost):
    run = Path(shutil.copytree(bulk, tmp_path / "run"))
    folder = run / "activations" / "candidates"
    baselines = folder / "baselines.safetensors"
    if lost in ("part-00001.json", "both"):
        (folder / "prompt" / "part-00001.json").unlink()
    if lost in ("baselines.safetensors", "both"):
        baselines.unlink()
    if lost.startswith("a bit"):
        whole = baselines.read_bytes()
        baselines.unlink()
        baselines.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "damaged" in refused("detect", run, code=3)
    record(inputs, run, *BULK)
    assert recorded(run) == recorded(bulk)


@pytest.mark.parametrize(("layout", "other"), [("dense", "bulk"), ("bulk", "dense")])
def test_a_shard_of_the_other_layout_is_named_and_without_it_the_run_is_whole_again(
    inputs, request, tmp_path, layout, other
):
    whole = request.getfixturevalue(layout)
    run, options = Path(shutil.copytree(whole, tmp_path / "run")), ("--layout", layout)
    strangers = [f"activations/candidates/prompt/part-00001.{ending}" for ending in ("parquet", "json")]
    for name in strangers:
        shutil.copy(request.getfixturevalue(other) / name, run / name)
    before = digests(run / "activations")
    for line in (refused("detect", run, code=3), refused("record", *recording(inputs, run, *SHARDS, *options))):
        assert f"{run / strangers[0]} was recorded with fingerprint " in line
        assert "; delete it and part-00001.json, which belong to another recording" in line
        assert digests(run / "activations") == before
    for name in strangers:
        (run / name).unlink()
    record(inputs, run, *options)
    assert recorded(run) == recorded(whole)
    assert run_flashbulb("detect", run).code == 0


@pytest.mark.parametrize("first", ["dense", "bulk"])
def test_a_run_of_one_layout_is_not_continued_in_the_other(inputs, request, first):
    run, other = request.getfixturevalue(first), {"dense": "bulk", "bulk": "dense"}[first]
    before = digests(run)
    line = refused("record", *recording(inputs, run, *SHARDS, "--layout", other))
    assert "candidates_layout" in line
    assert "--force" in line
    assert digests(run) == before


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (("recover", "--ascend-kind", "cross_out"), "50 of feed_forward"),
        (("recover", "--ascend-neurons", "51"), "50 of feed_forward"),
        (("detect", "--max-style-shift", "0.5"), "fitted without candidates"),
    ],
)
def test_what_is_not_kept_is_refused_before_anything_is_lost(bulk, tmp_path, monkeypatch, command, line):
    run = Path(shutil.copytree(bulk, tmp_path / "run"))
    assert run_flashbulb("detect", run).code == 0
    before = digests(run)
    if "--max-style-shift" in command:  # the toy sets are too small for a style
        monkeypatch.setattr("flashbulb.audit.stages.kept.bulk.candidates_fit", lambda _: True)
    said = refused(command[0], run, *command[1:])
    assert line in said
    assert "--layout dense" in said
    assert digests(run) == before


def test_a_base_model_needs_the_dense_layout(inputs, tmp_path):
    options = recording(inputs, tmp_path / "run", *BULK, "--baseline-model", inputs.model)
    assert "--layout dense" in refused("record", *options)
