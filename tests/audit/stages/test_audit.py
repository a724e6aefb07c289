"""The stages of an audit give the same results one at a time as together, and each repeats only its own work."""

import pandas as pd
import pytest
from safetensors.numpy import load_file

from flashbulb.audit.settings import AuditSettings, SettingsError
from flashbulb.audit.stages.audit import run_detect, run_record, run_recover
from flashbulb.reports.tables.files import FINDINGS_TABLE_FILE, TABLE_FILES, VERDICT_FILES, sha256_of
from tests.audit.commands import (
    CANDIDATES,
    ODD,
    digests,
    edit_run_json,
    refused,
    run_flashbulb,
    run_json,
    scores_of,
    shards,
    text_file,
)
from tests.audit.conftest import RECORDING_OPTIONS, RECOVERY_OPTIONS, recording
from tests.audit.counting import counted_latents

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
        del record["timings"], record["finished"], record["settings"]["out"], record["seal"]["digest"]
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
        assert run_flashbulb("detect", run).code == 0
    assert count.n_latents == 0


def test_before_recovery_severity_depends_on_flags_alone(staged):
    scores = scores_of(staged.detected)
    assert set(scores[scores["flagged"]]["severity"]) <= {"low", "medium"}
    assert set(scores[~scores["flagged"]]["severity"]) == {"none"}
    assert set(scores["tier"]) == {1}
    after = scores_of(staged.complete)
    assert after.loc[after["prompt"] == ODD, "severity"].tolist() == ["high"]
    same = [name for name in scores if name not in ("severity", "tier", "picture_agreement")]
    pd.testing.assert_frame_equal(scores[same], after[same], check_exact=True)


def test_detection_at_another_rate_records_nothing_and_removes_the_recovery(at):
    run = at("complete")
    before = shards(run)
    answer = run_flashbulb("detect", run, "--fpr", "0.4")
    assert answer.code == 0, answer.err
    assert shards(run) == before
    record = run_json(run)
    assert (record["status"], record["calibration"]["fpr"], record["settings"]["fpr"]) == ("detected", 0.4, 0.4)
    assert "verdict" not in record
    assert scores_of(run)["p_value"].le(0.4).eq(scores_of(run)["flagged"]).all()
    for name in ("recoveries.parquet", "neuron_groups.parquet", "evidence.png", *VERDICT_FILES):
        assert not (run / name).exists()
    attempts = {path: path.stat().st_mtime_ns for path in (run / "recovery").rglob("*.safetensors")}
    assert attempts
    with counted_latents() as count:
        assert run_flashbulb("recover", run).code == 0
    assert {path: path.stat().st_mtime_ns for path in attempts} == attempts
    assert len(pd.read_parquet(run / "recoveries.parquet")) * 4 * 2 > count.n_latents or count.n_latents == 0
    assert run_json(run)["status"] == "complete"


def test_going_back_to_the_first_rate_restores_its_result_without_the_unet(at):
    run = at("complete")
    before = {name: sha256_of(run / name) for name in TABLE_FILES}
    assert run_flashbulb("detect", run, "--fpr", "0.1").code == 0
    assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
    with counted_latents() as count:
        assert run_flashbulb("recover", run).code == 0
    assert count.n_latents == 0
    assert {name: sha256_of(run / name) for name in TABLE_FILES} == before


def test_audit_completes_a_staged_directory_or_refuses_it(inputs, at):
    run = at("detected")
    before, files = shards(run), digests(run)
    line = refused("audit", *inputs.options(run), "--fpr", "0.3")
    assert "detection.settings.fpr was 0.2, now 0.3" in line
    assert digests(run) == files
    assert (
        run_flashbulb("audit", *inputs.options(run)).code == 0
    )  # stages that have not run take the settings of the audit
    assert shards(run) == before
    assert run_json(run)["status"] == "complete"
    assert "recovery.settings.n_samples was 2, now 3" in refused("audit", *inputs.options(run), "--samples", "3")


def test_settings_of_ascent_change_without_sampling_again(at):
    run = at("complete")
    images = {path: path.stat().st_mtime_ns for path in (run / "images").rglob("seed-*.png")}
    sampled = {path: path.stat().st_mtime_ns for path in (run / "recovery").rglob("sample-0.safetensors")}
    before = shards(run)
    ascents = ("--strategy", "sample", "--strategy", "ascend", "--ascend-steps", "1", "--ascend-restarts", "1")
    answer = run_flashbulb("recover", run, *ascents)
    assert answer.code == 0, answer.err
    kept = {path: path.stat().st_mtime_ns for path in (*images, *sampled)}
    assert kept == images | sampled
    assert shards(run) == before
    ascents = {path: path.stat().st_mtime_ns for path in (run / "recovery").rglob("ascend-*.safetensors")}
    assert ascents
    assert run_flashbulb("recover", run, "--ascend-steps", "2").code == 0
    assert all(path.stat().st_mtime_ns != time for path, time in ascents.items())
    assert {path: path.stat().st_mtime_ns for path in sampled} == sampled
    assert run_json(run)["settings"]["strategies"] == ["sample", "ascend"]


def test_recovery_without_images_removes_images_of_an_earlier_recovery(at):
    run = at("complete")
    assert run_flashbulb("recover", run, "--no-images").code == 0
    assert not (run / "images").exists()
    assert not (run / "recovery").exists()
    assert pd.read_parquet(run / "recoveries.parquet")["image_path"].isna().all()


def test_screened_stages_equal_a_screened_audit(inputs, tmp_path):
    prompts = text_file(tmp_path / "p.txt", [*CANDIDATES, *(f"a star over the sea, number {i}" for i in range(8))])
    with_stars = inputs._replace(prompts=prompts)
    tier = ("--tiers", "screened", "--screened-share", "0.9")
    assert run_flashbulb("audit", *with_stars.options(tmp_path / "at_once"), *tier).code == 0
    assert run_flashbulb("record", *recording(with_stars, tmp_path / "run", *tier)).code == 0
    assert run_flashbulb("detect", tmp_path / "run", "--fpr", "0.2").code == 0
    assert run_flashbulb("recover", tmp_path / "run", *RECOVERY_OPTIONS).code == 0
    assert (scores_of(tmp_path / "at_once")["tier"] == 0).any()
    for name in TABLE_FILES:
        assert sha256_of(tmp_path / "run" / name) == sha256_of(tmp_path / "at_once" / name), name


def test_a_saved_calibration_serves_the_stages(inputs, tmp_path):
    folder = tmp_path / "calibration"
    calibrate = ("--model", inputs.model, "--reference", inputs.reference, *RECORDING_OPTIONS, "--out", folder)
    assert run_flashbulb("calibrate", *calibrate).code == 0
    options = ("--model", inputs.model, "--prompts", inputs.prompts, "--calibration", folder)
    assert run_flashbulb("record", *options, "--out", tmp_path / "run", *RECORDING_OPTIONS).code == 0
    assert run_flashbulb("detect", tmp_path / "run", "--fpr", "0.2").code == 0
    assert run_flashbulb("recover", tmp_path / "run", *RECOVERY_OPTIONS).code == 0
    assert run_flashbulb("audit", *inputs.options(tmp_path / "at_once")).code == 0
    for name in ("scores.parquet", "spikes.parquet", "recoveries.parquet"):
        assert sha256_of(tmp_path / "run" / name) == sha256_of(tmp_path / "at_once" / name), name
    folder.rename(tmp_path / "moved")
    assert "holds no finished calibration" in refused("detect", tmp_path / "run", "--fpr", "0.3")


def test_stages_without_a_reference_equal_an_audit_without_one(inputs, tmp_path):
    prompts = text_file(tmp_path / "prompts.txt", [*inputs.reference.read_text().splitlines(), ODD])
    options = ("--model", inputs.model, "--prompts", prompts)
    audit = ("audit", *options, "--out", tmp_path / "at_once", *RECORDING_OPTIONS, *RECOVERY_OPTIONS, "--fpr", "0.2")
    assert run_flashbulb(*audit).code == 0
    assert run_flashbulb("record", *options, "--out", tmp_path / "run", *RECORDING_OPTIONS).code == 0
    assert run_flashbulb("detect", tmp_path / "run", "--fpr", "0.2").code == 0
    assert run_flashbulb("recover", tmp_path / "run", *RECOVERY_OPTIONS).code == 0
    for name in TABLE_FILES:
        assert sha256_of(tmp_path / "run" / name) == sha256_of(tmp_path / "at_once" / name), name


def test_stages_run_as_python_functions(inputs, staged, tmp_path):
    settings = AuditSettings(
        examine=False,
        model=inputs.model,  # paths may be text or not, whatever the setting holds
        prompts=inputs.prompts,
        reference=str(inputs.reference),
        train_images=None,
        out=str(tmp_path / "run"),
        n_seeds=2,
    )
    assert run_record(settings, force=False).record["status"] == "recorded"
    assert run_detect(str(settings.out), {"fpr": 0.2}).record["status"] == "detected"
    verdict = run_recover(str(settings.out), {"n_samples": 2, "sample_steps": 2, "strategies": ("sample",)})
    assert verdict.outcome == run_json(settings.out)["verdict"]["outcome"]
    spikes = [sha256_of(run / "spikes.parquet") for run in (settings.out, staged.complete)]
    assert spikes[0] == spikes[1]


def test_settings_of_earlier_stages_cannot_change(at):
    run = at("detected")
    before = digests(run)
    for stage, changes in ((run_detect, {"n_seeds": 5}), (run_recover, {"n_seeds": 5}), (run_recover, {"fpr": 0.3})):
        (name,) = changes
        with pytest.raises(SettingsError, match=f"an earlier stage of .* ran with {name} .*, not {changes[name]}"):
            stage(run, changes)
    assert digests(run) == before
