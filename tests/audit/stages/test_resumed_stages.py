"""A stage that was interrupted or lost a file repeats only its own work, and gives the result of one that was not."""

import signal

import pandas as pd
import pytest

from flashbulb.reports.tables.files import TABLE_FILES, sha256_of
from tests.audit.commands import CANDIDATES, digests, refused, run_flashbulb, run_json, scores_of, shards, wait_for
from tests.audit.conftest import RECOVERY_OPTIONS, recording
from tests.audit.counting import counted_latents
from tests.cases import slow_unless_in
from tests.processes import fork_flashbulb

EMPTY_PROMPT_EVALUATIONS = 2  # one for each seed; a recorder evaluates them before it reads finished shards


@pytest.mark.parametrize(("stage", "name"), [("detect", "detected"), ("detect", "complete")])
def test_finished_detection_is_kept(at, stage, name):
    run = at(name)
    before = digests(run)
    assert run_flashbulb(stage, run).code == 0
    assert run_flashbulb(stage, run, "--fpr", "0.2").code == 0
    assert digests(run) == before


@pytest.mark.parametrize("name", ["recorded", "detected", "complete"])
def test_finished_recording_is_kept_with_all_later_stages(inputs, at, name):
    run = at(name)
    before = digests(run)
    answer = run_flashbulb("record", *recording(inputs, run))
    assert answer.code == 0, answer.err
    assert digests(run) == before


def test_a_lost_shard_is_recorded_again_and_later_stages_must_be_repeated(inputs, at):
    run = at("complete")
    (run / "activations" / "candidates" / "step" / "part-00000.parquet").unlink()
    line = refused("detect", run, code=3)
    assert "is damaged" in line
    assert "flashbulb record" in line
    assert run_flashbulb("record", *recording(inputs, run)).code == 0
    assert run_json(run)["status"] == "recorded"
    assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0


def test_a_damaged_table_is_detected_again(at):
    run = at("detected")
    good = sha256_of(run / "scores.parquet")
    (run / "scores.parquet").write_bytes(b"PAR1")
    assert run_flashbulb("detect", run).code == 0
    assert sha256_of(run / "scores.parquet") == good


def test_a_smaller_batch_resumes_the_recording(inputs, at):
    run = at("detected")
    before = shards(run)
    with counted_latents() as count:
        assert run_flashbulb("record", *recording(inputs, run), "--batch-size", "4").code == 0
    assert count.n_latents <= EMPTY_PROMPT_EVALUATIONS
    assert run_flashbulb("recover", run, *RECOVERY_OPTIONS, "--batch-size", "4").code == 0
    assert shards(run) == before


@pytest.fixture(scope="module")
def uninterrupted(inputs, tmp_path_factory):
    """A detected recording with one prompt per shard. Read-only."""
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert run_flashbulb("record", *recording(inputs, run, "--shard-size", "1")).code == 0
    assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
    return run


@pytest.mark.parametrize("share", slow_unless_in([0.5], [0.1, 0.5, 0.9]))
def test_an_interrupted_recording_loses_at_most_one_shard(inputs, uninterrupted, tmp_path, share):
    run, small = tmp_path / "run", ("--shard-size", "1")
    n_latents = EMPTY_PROMPT_EVALUATIONS + 2 * (len(CANDIDATES) + len(inputs.reference.read_text().splitlines()))
    with counted_latents(stop_after=int(share * n_latents)) as count:
        assert run_flashbulb("record", *recording(inputs, run, *small)).code == 130
    spent = count.n_latents
    assert run_json(run)["status"] == "interrupted"
    assert "is not recorded yet; finish it with the command that began it" in refused("detect", run)
    assert refused("gate", run, code=3)
    with counted_latents() as count:
        assert run_flashbulb("record", *recording(inputs, run, *small)).code == 0
    n_repeated = EMPTY_PROMPT_EVALUATIONS + 2 * 2  # a shard takes two latents; one shard was unfinished
    assert spent + count.n_latents <= n_latents + n_repeated
    assert run_json(run)["evaluations"]["record"] == n_latents
    assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
    pd.testing.assert_frame_equal(scores_of(run), scores_of(uninterrupted), check_exact=True)


def test_a_resumed_recovery_gives_the_result_of_an_uninterrupted_one(at, staged):
    run = at("detected")
    training_images = run_json(staged.complete)["settings"]["train_images"]
    recover = ("recover", run, *RECOVERY_OPTIONS, "--train-images", training_images)
    with counted_latents(stop_after=4) as count:
        assert run_flashbulb(*recover).code == 130
    assert count.n_latents > 4
    assert run_json(run)["status"] == "interrupted"
    assert refused("gate", run, code=3)
    assert run_flashbulb(*recover).code == 0
    for name in TABLE_FILES:
        assert sha256_of(run / name) == sha256_of(staged.complete / name), name


def test_a_killed_recording_is_resumed(inputs, tmp_path):
    run = tmp_path / "run"
    process = fork_flashbulb("record", *recording(inputs, run, "--shard-size", "1"))
    wait_for(run / "activations" / "reference" / "step" / "part-00000.json", process)
    process.send_signal(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    before = shards(run)
    assert run_flashbulb("gate", run).code == 3
    assert run_flashbulb("record", *recording(inputs, run, "--shard-size", "1")).code == 0
    after = shards(run)
    finished_shard = "activations/reference/step/part-00000.parquet"
    assert after[finished_shard] == before[finished_shard]
    assert run_json(run)["status"] == "recorded"
