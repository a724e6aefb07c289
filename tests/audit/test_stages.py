"""The stages of an audit, one at a time, give what an audit gives, and each does again only what is its own."""

import pandas as pd
import pytest
from safetensors.numpy import load_file

from audit.config import AuditSettings
from audit.stages import run_detect, run_record, run_recover
from reports.files import FINDINGS_TABLE_FILE, TABLE_FILES, VERDICT_FILES, sha256_of
from tests.audit.commands import (
    CANDIDATES,
    ODD,
    digests,
    edit_run_json,
    engram,
    run_json,
    scores_of,
    shards,
    start,
    text_file,
)
from tests.audit.conftest import OF_RECORDING, OF_RECOVERY, recording
from tests.audit.counting import counted_latents
from tests.audit.test_cli import refused
from tests.audit.test_interruption import wait_for

OF_EMPTY_PROMPT = 2  # seeds, which a recorder evaluates before it looks at what is there
FILES = (*TABLE_FILES, "scores.png", "evidence.png")


def test_stages_one_at_a_time_give_the_files_of_an_audit(staged):
    for name in FILES:
        assert sha256_of(staged.complete / name) == sha256_of(staged.at_once / name), name
    recorded = [digests(run / "activations") for run in (staged.complete, staged.at_once)]
    assert recorded[0].keys() == recorded[1].keys()
    assert {name for name in recorded[0] if recorded[0][name] != recorded[1][name]} == {"recording.json"}  # its timings
    own_baseline, other_baseline = (
        load_file(run / "baseline.safetensors") for run in (staged.complete, staged.at_once)
    )
    assert own_baseline.keys() == other_baseline.keys()
    assert all((own_baseline[name] == other_baseline[name]).all() for name in own_baseline)
    own, other = run_json(staged.complete), run_json(staged.at_once)
    for record in (own, other):
        del record["timings"], record["finished"], record["settings"]["out"]
    assert own == other


def test_each_stage_writes_its_tables_and_status(staged):
    statuses = [run_json(run)["status"] for run in staged]
    assert statuses == ["recorded", "detected", "complete", "complete"]
    tables = [{path.name for path in run.glob("*.parquet")} for run in staged]
    assert tables[0] == set()
    assert {"scores.parquet", "spikes.parquet"} <= tables[1] < tables[2] == {*TABLE_FILES, FINDINGS_TABLE_FILE}
    assert not (staged.detected / "images").exists()


def test_detection_needs_no_unet_and_no_prompt_file(inputs, at, tmp_path, monkeypatch):
    run = at("recorded")
    edit_run_json(run, "settings", "model", value=str(tmp_path / "gone"))
    edit_run_json(run, "settings", "prompts", value="-")
    with counted_latents() as count:
        assert engram("detect", run).code == 0
    assert count.n_latents == 0


def test_severity_is_that_of_the_flags_alone_before_recovery(staged):
    scores = scores_of(staged.detected)
    assert set(scores[scores["flagged"]]["severity"]) <= {"low", "medium"}
    assert set(scores[~scores["flagged"]]["severity"]) == {"none"}
    assert set(scores["tier"]) == {1}
    after = scores_of(staged.complete)
    assert after.loc[after["prompt"] == ODD, "severity"].tolist() == ["high"]
    same = [name for name in scores if name not in ("severity", "tier", "picture_agreement")]
    pd.testing.assert_frame_equal(scores[same], after[same], check_exact=True)


def test_another_rate_is_detected_without_recording_and_takes_the_recovery_back(at):
    run = at("complete")
    before = shards(run)
    answer = engram("detect", run, "--fpr", "0.4")
    assert answer.code == 0, answer.err
    assert shards(run) == before
    record = run_json(run)
    assert (record["status"], record["calibration"]["fpr"], record["settings"]["fpr"]) == ("detected", 0.4, 0.4)
    assert "verdict" not in record
    assert scores_of(run)["p_value"].le(0.4).eq(scores_of(run)["flagged"]).all()
    for name in ("recoveries.parquet", "neuron_groups.parquet", "evidence.png", *VERDICT_FILES):
        assert not (run / name).exists()
    rungs = {path: path.stat().st_mtime_ns for path in (run / "recovery").rglob("*.safetensors")}
    assert rungs
    with counted_latents() as count:
        assert engram("recover", run).code == 0
    assert {path: path.stat().st_mtime_ns for path in rungs} == rungs
    assert len(pd.read_parquet(run / "recoveries.parquet")) * 4 * 2 > count.n_latents or count.n_latents == 0
    assert run_json(run)["status"] == "complete"


def test_a_rate_and_back_gives_the_first_result_without_the_unet(at):
    run = at("complete")
    before = {name: sha256_of(run / name) for name in TABLE_FILES}
    assert engram("detect", run, "--fpr", "0.1").code == 0
    assert engram("detect", run, "--fpr", "0.2").code == 0
    with counted_latents() as count:
        assert engram("recover", run).code == 0
    assert count.n_latents == 0
    assert {name: sha256_of(run / name) for name in TABLE_FILES} == before


@pytest.mark.parametrize(("stage", "name"), [("detect", "detected"), ("detect", "complete")])
def test_detection_that_is_there_is_kept(at, stage, name):
    run = at(name)
    before = digests(run)
    assert engram(stage, run).code == 0
    assert engram(stage, run, "--fpr", "0.2").code == 0
    assert digests(run) == before


@pytest.mark.parametrize("name", ["recorded", "detected", "complete"])
def test_recording_that_is_there_is_kept_with_all_that_follows(inputs, at, name):
    run = at(name)
    before = digests(run)
    answer = engram("record", *recording(inputs, run))
    assert answer.code == 0, answer.err
    assert digests(run) == before


def test_a_lost_shard_is_recorded_again_and_what_followed_is_open(inputs, at):
    run = at("complete")
    (run / "activations" / "candidates" / "step" / "part-00000.parquet").unlink()
    line = refused("detect", run)
    assert "is damaged" in line
    assert "engram record" in line
    assert engram("record", *recording(inputs, run)).code == 0
    assert run_json(run)["status"] == "recorded"
    assert engram("detect", run, "--fpr", "0.2").code == 0


def test_a_damaged_table_is_detected_again(at):
    run = at("detected")
    good = sha256_of(run / "scores.parquet")
    (run / "scores.parquet").write_bytes(b"PAR1")
    assert engram("detect", run).code == 0
    assert sha256_of(run / "scores.parquet") == good


def test_audit_into_a_staged_directory_is_one_audit_or_refused(inputs, at):
    run = at("detected")
    before, files = shards(run), digests(run)
    line = refused("audit", *inputs.options(run), "--fpr", "0.3")
    assert "detection.settings.fpr was 0.2, now 0.3" in line
    assert digests(run) == files
    assert engram("audit", *inputs.options(run)).code == 0  # what is not decided yet is the audit's to decide
    assert shards(run) == before
    assert run_json(run)["status"] == "complete"
    assert "recovery.settings.n_samples was 2, now 3" in refused("audit", *inputs.options(run), "--samples", "3")


def test_what_recovery_alone_needs_is_changed_without_sampling_again(at):
    run = at("complete")
    pictures = {path: path.stat().st_mtime_ns for path in (run / "images").rglob("seed-*.png")}
    sampled = {path: path.stat().st_mtime_ns for path in (run / "recovery").rglob("sample-0.safetensors")}
    before = shards(run)
    answer = engram("recover", run, "--strategy", "sample", "--strategy", "ascend", "--ascend-steps", "1")
    assert answer.code == 0, answer.err
    kept = {path: path.stat().st_mtime_ns for path in (*pictures, *sampled)}
    assert kept == pictures | sampled
    assert shards(run) == before
    ascents = {path: path.stat().st_mtime_ns for path in (run / "recovery").rglob("ascend-*.safetensors")}
    assert ascents
    assert engram("recover", run, "--ascend-steps", "2").code == 0
    assert all(path.stat().st_mtime_ns != time for path, time in ascents.items())
    assert {path: path.stat().st_mtime_ns for path in sampled} == sampled
    assert run_json(run)["settings"]["strategies"] == ["sample", "ascend"]


def test_recovery_without_pictures_takes_those_of_an_earlier_one_away(at):
    run = at("complete")
    assert engram("recover", run, "--no-images").code == 0
    assert not (run / "images").exists()
    assert not (run / "recovery").exists()
    assert pd.read_parquet(run / "recoveries.parquet")["image_path"].isna().all()


def test_screened_stages_give_what_a_screened_audit_gives(inputs, tmp_path):
    prompts = text_file(tmp_path / "p.txt", [*CANDIDATES, *(f"a star over the sea, number {i}" for i in range(20))])
    given = inputs._replace(prompts=prompts)
    tier = ("--tiers", "screened", "--screened-share", "0.9")
    assert engram("audit", *given.options(tmp_path / "whole"), *tier).code == 0
    assert engram("record", *recording(given, tmp_path / "run", *tier)).code == 0
    assert engram("detect", tmp_path / "run", "--fpr", "0.2").code == 0
    assert engram("recover", tmp_path / "run", *OF_RECOVERY).code == 0
    assert (scores_of(tmp_path / "whole")["tier"] == 0).any()
    for name in TABLE_FILES:
        assert sha256_of(tmp_path / "run" / name) == sha256_of(tmp_path / "whole" / name), name


def test_a_saved_calibration_serves_the_stages(inputs, tmp_path):
    folder = tmp_path / "calibration"
    given = ("--model", inputs.model, "--reference", inputs.reference, *OF_RECORDING, "--out", folder)
    assert engram("calibrate", *given).code == 0
    options = ("--model", inputs.model, "--prompts", inputs.prompts, "--calibration", folder)
    assert engram("record", *options, "--out", tmp_path / "run", *OF_RECORDING).code == 0
    assert engram("detect", tmp_path / "run", "--fpr", "0.2").code == 0
    assert engram("recover", tmp_path / "run", *OF_RECOVERY).code == 0
    assert engram("audit", *inputs.options(tmp_path / "whole")).code == 0
    for name in ("scores.parquet", "spikes.parquet", "recoveries.parquet"):
        assert sha256_of(tmp_path / "run" / name) == sha256_of(tmp_path / "whole" / name), name
    folder.rename(tmp_path / "moved")
    assert "holds no finished calibration" in refused("detect", tmp_path / "run", "--fpr", "0.3")


def test_without_a_reference_the_stages_give_what_an_audit_gives(inputs, tmp_path):
    prompts = text_file(tmp_path / "prompts.txt", [*inputs.reference.read_text().splitlines(), ODD])
    given = ("--model", inputs.model, "--prompts", prompts)
    whole = ("audit", *given, "--out", tmp_path / "whole", *OF_RECORDING, *OF_RECOVERY, "--fpr", "0.2")
    assert engram(*whole).code == 0
    assert engram("record", *given, "--out", tmp_path / "run", *OF_RECORDING).code == 0
    assert engram("detect", tmp_path / "run", "--fpr", "0.2").code == 0
    assert engram("recover", tmp_path / "run", *OF_RECOVERY).code == 0
    for name in TABLE_FILES:
        assert sha256_of(tmp_path / "run" / name) == sha256_of(tmp_path / "whole" / name), name


def test_a_smaller_batch_goes_on_with_what_is_recorded(inputs, at):
    run = at("detected")
    before = shards(run)
    with counted_latents() as count:
        assert engram("record", *recording(inputs, run), "--batch-size", "4").code == 0
    assert count.n_latents <= OF_EMPTY_PROMPT
    assert engram("recover", run, *OF_RECOVERY, "--batch-size", "4").code == 0
    assert shards(run) == before


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_interrupted_recording_loses_at_most_the_shard_in_hand(inputs, staged, tmp_path, share):
    run, small = tmp_path / "run", ("--shard-size", "1")
    n_latents = OF_EMPTY_PROMPT + 2 * (len(CANDIDATES) + len(inputs.reference.read_text().splitlines()))
    with counted_latents(stop_after=int(share * n_latents)) as count:
        assert engram("record", *recording(inputs, run, *small)).code == 130
    spent = count.n_latents
    assert run_json(run)["status"] == "interrupted"
    assert "is not recorded yet; finish it with the command that began it" in refused("detect", run)
    assert refused("gate", run, code=3)
    with counted_latents() as count:
        assert engram("record", *recording(inputs, run, *small)).code == 0
    assert spent + count.n_latents <= n_latents + OF_EMPTY_PROMPT + 2 * 2  # a shard is two latents, one was in hand
    assert run_json(run)["evaluations"]["record"] == n_latents
    assert engram("detect", run, "--fpr", "0.2").code == 0
    pd.testing.assert_frame_equal(scores_of(run), scores_of(staged.detected), rtol=1e-3)


def test_an_interrupted_recovery_goes_on_to_the_same_result(at, staged):
    run = at("detected")
    given = ("recover", run, *OF_RECOVERY, "--train-images", run_json(staged.complete)["settings"]["train_images"])
    with counted_latents(stop_after=4) as count:
        assert engram(*given).code == 130
    assert count.n_latents > 4
    assert run_json(run)["status"] == "interrupted"
    assert refused("gate", run, code=3)
    assert engram(*given).code == 0
    for name in TABLE_FILES:
        assert sha256_of(run / name) == sha256_of(staged.complete / name), name


def test_a_killed_recording_goes_on(inputs, tmp_path):
    run = tmp_path / "run"
    process = start("record", *recording(inputs, run, "--shard-size", "1"))
    wait_for(run / "activations" / "reference" / "step" / "part-00000.json", process)
    process.kill()
    process.communicate(timeout=60)
    before = shards(run)
    assert engram("gate", run).code == 3
    assert engram("record", *recording(inputs, run, "--shard-size", "1")).code == 0
    after = shards(run)
    whole = "activations/reference/step/part-00000.parquet"
    assert after[whole] == before[whole]
    assert run_json(run)["status"] == "recorded"


def test_stages_are_functions(inputs, staged, tmp_path):
    settings = AuditSettings(
        model=str(inputs.model),
        prompts=str(inputs.prompts),
        reference=str(inputs.reference),
        train_images=None,
        out=tmp_path / "run",
        n_seeds=2,
    )
    assert run_record(settings, force=False).record["status"] == "recorded"
    assert run_detect(settings.out, {"fpr": 0.2}).record["status"] == "detected"
    verdict = run_recover(settings.out, {"n_samples": 2, "sample_steps": 2, "strategies": ("sample",)})
    assert verdict.outcome == run_json(settings.out)["verdict"]["outcome"]
    spikes = [sha256_of(run / "spikes.parquet") for run in (settings.out, staged.complete)]
    assert spikes[0] == spikes[1]
