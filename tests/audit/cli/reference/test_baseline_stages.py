"""`--baseline-model`: stages alone, resumed and repeated give the tables of an audit, and both models are counted."""

import gc
import json
import shutil
import signal
import weakref
from pathlib import Path

import pandas as pd

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.audit import run_record
from flashbulb.audit.stages.opening import base, session
from flashbulb.reports.tables.files import TABLE_FILES, sha256_of
from tests.audit.commands import (
    digests,
    run_flashbulb,
    run_json,
    shards,
    wait_for,
)
from tests.audit.counting import counted_latents
from tests.processes import fork_flashbulb


def test_stages_one_at_a_time_give_the_tables_of_an_audit(pair, audited_pair, tmp_path):
    run = tmp_path / "run"
    files = ("--prompts", pair.prompts, "--reference", pair.reference, "--out", run)
    models = ("--model", pair.finetune, "--baseline-model", pair.base)
    for words in (
        ("record", *models, *files, "--seeds", "2"),
        ("detect", run, "--fpr", "0.2"),
        ("recover", run, "--samples", "2", "--sample-steps", "2", "--strategy", "sample"),
    ):
        answer = run_flashbulb(*words)
        assert answer.code == 0, answer.err
    assert {name: sha256_of(run / name) for name in TABLE_FILES} == {
        name: sha256_of(audited_pair / name) for name in TABLE_FILES
    }


def recorded(run: Path) -> dict[str, str]:
    """Return the hashes of all that was recorded, but for the files that say how long it took."""
    found = digests(run / "activations").items()
    return {name: digest for name, digest in found if not name.endswith("recording.json")}


def test_a_recording_killed_on_the_base_is_resumed_without_the_shards_it_has(pair, tmp_path):
    run, options = tmp_path / "run", ("--shard-size", "3")
    base = run / "activations" / "baseline"
    process = fork_flashbulb("record", *pair.recording(run, *options))
    wait_for(base / "reference" / "step" / "part-00001.json", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = shards(run)
    assert not (run / "activations" / "recording.json").exists()
    assert run_flashbulb("record", *pair.recording(run, *options)).code == 0
    after = shards(run)
    assert all(after[name] == time for name, time in kept.items() if name.endswith(".json"))
    assert run_flashbulb("record", *pair.recording(tmp_path / "at once", *options)).code == 0
    assert recorded(run) == recorded(tmp_path / "at once")


def test_a_finished_audit_is_repeated_without_a_new_recording(pair, audited_pair, tmp_path):
    run = Path(shutil.copytree(audited_pair, tmp_path / "run"))
    before = shards(run)
    assert run_flashbulb("detect", run, "--fpr", "0.1").code == 0
    assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
    assert run_flashbulb("recover", run).code == 0
    assert shards(run) == before
    assert sha256_of(run / "scores.parquet") == sha256_of(audited_pair / "scores.parquet")


def test_the_plan_counts_what_the_audit_evaluates_on_both_models(pair, audited_pair, tmp_path):
    answer = run_flashbulb("validate", *pair.options(tmp_path / "run"), "--json")
    plan, spent = json.loads(answer.out), run_json(audited_pair)["evaluations"]
    for stage in ("record", "record_base"):
        assert plan["evaluations"][stage] == {"low": spent[stage], "high": spent[stage]}
    assert plan["base"]["fingerprint"] == run_json(audited_pair)["base"]["fingerprint"]
    assert not (tmp_path / "run").exists()


def test_both_models_evaluate_the_same_latents(pair, tmp_path):
    with counted_latents() as count:
        assert run_flashbulb("record", *pair.recording(tmp_path / "run")).code == 0
    spent = run_json(tmp_path / "run")["evaluations"]
    assert spent["record"] == spent["record_base"]
    assert count.n_latents == 2 * spent["record"]


def test_one_model_is_in_memory_at_a_time(pair, tmp_path, monkeypatch):
    opened: list[weakref.ref[Denoiser]] = []
    most = []

    def open_denoiser(*arguments):
        gc.collect()
        most.append(sum(reference() is not None for reference in opened))
        denoiser = session_open(*arguments)
        opened.append(weakref.ref(denoiser))
        return denoiser

    session_open = session.open_denoiser
    for module in (base, session):
        monkeypatch.setattr(module, "open_denoiser", open_denoiser)
    settings = AuditSettings.model_validate(
        {
            "model": str(pair.finetune),
            "baseline_model": str(pair.base),
            "prompts": str(pair.prompts),
            "reference": str(pair.reference),
            "out": tmp_path / "run",
            "train_images": None,
            "n_seeds": 2,
            "examine": False,
        }
    )
    run_record(settings, force=False)
    assert most == [0, 0, 0]  # the base to look at it, the fine-tune, the base to record it


def test_extrapolation_samples_away_from_the_base_and_counts_both_models(pair, audited_pair, tmp_path):
    run = Path(shutil.copytree(audited_pair, tmp_path / "run"))
    before = run_json(run)["evaluations"]["recover"]
    with counted_latents() as count:
        answer = run_flashbulb("recover", run, "--strategy", "sample", "--strategy", "extrapolate")
    assert answer.code == 0, answer.err
    attempts = pd.read_parquet(run / "recoveries.parquet")
    tried = attempts[attempts["strategy"] == "extrapolate"]
    assert tried["is_control"].tolist() == [False]  # it gave no image, so no control follows
    assert run_json(run)["evaluations"]["recover"] - before == tried["evaluations"].sum()
    assert count.n_latents == tried["evaluations"].sum()
    n_sampled = 2 * 2 * 2 * 2  # models, seeds, steps, guidance
    assert (tried["evaluations"] >= n_sampled).all()
