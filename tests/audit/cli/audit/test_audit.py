"""`flashbulb audit` audits a model end to end, keeps finished work, and passes no audit that could find nothing."""

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image

from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.tables.run_record import load_run, results_of
from tests.audit.commands import CANDIDATES, ODD, QUICK, run_flashbulb, run_json, scores_of, shards, text_file
from tests.toy import build_toy_pipe

TABLES = ("scores", "spikes", "recoveries")


def test_run_directory_holds_all_documented_files(finished):
    run = finished.run
    record = load_run(run)
    assert record.status == "complete"
    assert record.verdict == decide(results_of(record), Policy())
    assert record.counts.n_prompts == record.counts.n_scored == len(CANDIDATES)
    for name in ("reference", "candidates"):
        for part in ("prompt", "step"):
            assert (run / "activations" / name / part / "part-00000.parquet").is_file()
            assert (run / "activations" / name / part / "part-00000.json").is_file()
    assert "# Memorization audit: gate failed" in (run / "summary.md").read_text(encoding="utf-8")
    for name in ("scores.png", "evidence.png"):
        with Image.open(run / name) as image:
            image.verify()
    assert not list(run.rglob("*.part"))


@pytest.mark.parametrize("table", TABLES)
def test_tables_open_in_pandas_polars_and_duckdb(finished, table):
    path = finished.run / f"{table}.parquet"
    frame = pd.read_parquet(path)
    assert len(frame) > 0
    assert pl.read_parquet(path).shape == frame.shape
    assert len(duckdb.sql(f"select * from '{path}'").fetchall()) == len(frame)


def test_recovered_training_image_is_confirmed_and_kept(finished):
    recoveries = pd.read_parquet(finished.run / "recoveries.parquet")
    scores = scores_of(finished.run).set_index("prompt_id")
    confirmed = recoveries[recoveries["verdict"] == "confirmed"]
    assert [scores.loc[i, "prompt"] for i in confirmed["prompt_id"]] == [ODD]
    row = confirmed.iloc[0]
    assert row["finding_id"] == "finding-001"
    assert Path(row["nearest_image"]).name == "secret.png"
    assert row["image_path"].endswith("seed-1.png")
    assert scores.loc[row["prompt_id"], "severity"] == "high"
    assert all((finished.run / path).is_file() for path in recoveries["image_path"])
    assert load_run(finished.run).counts.n_confirmed_pictures == 1


def test_finished_audit_and_its_report_are_dated(finished):
    finished_at = datetime.fromisoformat(run_json(finished.run)["finished"])
    assert timedelta() <= datetime.now(UTC) - finished_at < timedelta(days=1)
    assert f"audited {finished_at.date()}" in (finished.run / "report.html").read_text(encoding="utf-8")


def test_gate_and_audit_give_the_same_verdict(finished):
    verdict = run_json(finished.run)["verdict"]
    assert verdict["outcome"] == "fail"
    assert run_flashbulb("audit", "--gate", *finished.options).code == verdict["exit_code"] == 1
    answer = run_flashbulb("gate", finished.run)
    assert answer.code == 1
    assert answer.out.startswith("fail: ")


def test_rerun_keeps_recordings_and_images_and_gives_the_same_scores(finished):
    before = shards(finished.run)
    images = {p: p.stat().st_mtime_ns for p in (finished.run / "images").rglob("*.png")}
    scores = scores_of(finished.run)
    assert run_flashbulb("audit", *finished.options).code == 0
    assert shards(finished.run) == before
    assert {p: p.stat().st_mtime_ns for p in (finished.run / "images").rglob("*.png")} == images
    pd.testing.assert_frame_equal(scores_of(finished.run), scores, check_exact=True)


def test_spikes_belong_to_flagged_prompts(finished):
    spikes = duckdb.sql(f"select * from '{finished.run / 'spikes.parquet'}'").df()
    scores = scores_of(finished.run)
    assert set(spikes["prompt_id"]) == set(scores[scores["flagged"]]["prompt_id"])
    assert set(spikes["token_class"]) <= {"prompt", "end", "all"}
    assert (spikes["neuron"] >= 0).all()


def test_without_reference_the_candidates_calibrate_themselves(inputs, tmp_path):
    prompts = text_file(tmp_path / "prompts.txt", [*inputs.reference.read_text().splitlines(), ODD])
    answer = run_flashbulb("audit", "--model", inputs.model, "--prompts", prompts, "--out", tmp_path / "run", *QUICK)
    assert answer.code == 0, answer.err
    assert load_run(tmp_path / "run").calibration.reference_source == "the candidates themselves"
    assert not (tmp_path / "run" / "activations" / "reference").exists()
    scores = scores_of(tmp_path / "run")
    assert scores.loc[scores["spike_score"].idxmax(), "prompt"] == ODD


def with_safety_checker(pipe):
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPConfig(text_config=small, vision_config={**small, "image_size": 16, "patch_size": 8}, projection_dim=8)
    pipe.register_modules(safety_checker=StableDiffusionSafetyChecker(config), feature_extractor=CLIPImageProcessor())
    pipe.register_to_config(requires_safety_checker=True)
    return pipe


MODELS = {
    "float16": lambda: with_safety_checker(build_toy_pipe()).to(torch.float16),
    "larger latents": lambda: build_toy_pipe(
        prediction_type="v_prediction", use_linear_projection=True, latent_size=12
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_models_of_other_shapes_and_dtypes_are_audited(inputs, tmp_path, kind):
    MODELS[kind]().save_pretrained(tmp_path / "model")
    options = inputs._replace(model=tmp_path / "model").options(tmp_path / "run")
    answer = run_flashbulb("audit", *options)
    assert answer.code == 0, answer.err
    scores = scores_of(tmp_path / "run")
    assert scores.loc[scores["spike_score"].idxmax(), "prompt"] in (ODD, "жар-птица")
    side = 24 if kind == "larger latents" else 16
    for path in (tmp_path / "run" / "images").rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (side, side)


@pytest.mark.parametrize("kind", ["feed_forward", "text_mlp"])
def test_one_kind_of_site_is_enough(inputs, tmp_path, kind):
    answer = run_flashbulb("audit", *inputs.options(tmp_path / "run"), "--sites", kind)  # QUICK leaves the ascents out
    assert answer.code == 0, answer.err
    scores = scores_of(tmp_path / "run")
    assert [name for name in scores.columns if name.startswith("spikes_")] == [f"spikes_{kind}"]
    assert scores["text_conditional_noise"].gt(0).all()
    spikes = pd.read_parquet(tmp_path / "run" / "spikes.parquet")
    assert spikes["site"].str.startswith("text_encoder" if kind == "text_mlp" else "unet").all()


def test_no_images_leaves_no_sampled_image(inputs, tmp_path):
    assert run_flashbulb("audit", *inputs.options(tmp_path / "run"), "--no-images").code == 0
    assert [path.name for path in (tmp_path / "run").rglob("*.png")] == ["scores.png"]
    recoveries = pd.read_parquet(tmp_path / "run" / "recoveries.parquet")
    assert len(recoveries) > 0
    assert recoveries["image_path"].isna().all()


def test_one_candidate_with_a_reference_is_audited(inputs, tmp_path):
    prompts = text_file(tmp_path / "single.txt", [ODD])
    assert run_flashbulb("audit", *inputs._replace(prompts=prompts).options(tmp_path / "run")).code == 0
    assert list(scores_of(tmp_path / "run")["q_value"]) == list(scores_of(tmp_path / "run")["p_value"])


def test_audit_that_could_not_flag_anything_does_not_pass(inputs, tmp_path):
    few = text_file(tmp_path / "few.txt", ["a red star", "a blue star", "a green star", "a white star"])
    options = inputs._replace(reference=few).options(tmp_path / "run")
    assert run_flashbulb("audit", *options, "--fpr", "0.01").code == 0
    record = run_json(tmp_path / "run")
    assert record["calibration"]["threshold"] is None
    assert record["counts"]["n_flagged"] == 0
    assert "4 reference prompts cannot show a false-positive rate of 1 %" in record["problems"][0]
    assert run_flashbulb("gate", tmp_path / "run").code == 3
    assert "No threshold for a false-positive rate of 1 %" in (tmp_path / "run" / "summary.md").read_text()


def test_force_starts_over_and_finds_the_same(inputs, plain, tmp_path):
    options = inputs.options(shutil.copytree(plain.run, tmp_path / "run"))
    first, before = scores_of(tmp_path / "run"), shards(tmp_path / "run")
    assert run_flashbulb("audit", *options, "--force").code == 0
    pd.testing.assert_frame_equal(scores_of(tmp_path / "run"), first, rtol=1e-3)
    assert shards(tmp_path / "run") != before


def test_progress_is_plain_lines_without_a_terminal(plain):
    answer = plain.answer
    pattern = r"^{} {}/{}, \d+\.\d prompts/s, ETA 0 s"
    for stage, total in (("recording reference", 12), ("recording candidates", 5)):
        assert re.search(pattern.format(stage, total, total), answer.err, re.MULTILINE), answer.err
    assert re.search(r"^recovering (\d+)/\1, \d+\.\d prompts/s, ETA 0 s", answer.err, re.MULTILINE)
    assert not re.search(r"[\x1b\r\x07]", answer.out + answer.err)


HOSTILE = [
    "[red]star[/red] :fire: [/] \\[ [link=https://example.org]here[/link]",
    "bells \x07 and \x1b[31mcolours\x1b[0m \x9b2J \x7f",
    "long " * 2000,
    "right \u202eto left\u202c \u2066isolated\u2069 \u200f marks \ufeff",
    "| a table | `code` <script>alert(1)</script> ![x](https://example.org/x.png) @everyone #1",
    "$\\frac{1}{0}$ %s {0} ${HOME} $(true) ; rm",
    "العربية עברית 日本語 ❤️‍🔥 e\u0301",
    "../../../etc/passwd",
]


def test_hostile_prompts_break_nothing(inputs, tmp_path):
    lines = [json.dumps({"prompt": text}) for text in HOSTILE]
    prompts = text_file(tmp_path / "hostile.jsonl", lines)
    answer = run_flashbulb("audit", *inputs._replace(prompts=prompts).options(tmp_path / "run"), "--show-prompts")
    assert answer.code == 0, answer.err
    scores = scores_of(tmp_path / "run")
    assert list(scores["prompt"]) == [text.strip() for text in HOSTILE]
    assert scores["flagged"].any()
    assert all((tmp_path / "run" / "images" / name).is_dir() for name in scores[scores["flagged"]]["prompt_id"])
    summary = (tmp_path / "run" / "summary.md").read_text(encoding="utf-8")
    for shown in (answer.out, summary):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200f\u202a-\u202e\u2066-\u2069\ufeff]", shown)
    assert ":fire:" in answer.out
    assert "[red]star[/red]" in answer.out
    assert len(summary) < 2**20
    assert load_run(tmp_path / "run").counts.n_truncated > 0
