"""`--baseline-model`: flags say what a fine-tune's training added, and what its base already knew is listed apart."""

import gc
import json
import shutil
import signal
import weakref
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.audit import run_record
from flashbulb.audit.stages.detect import detect_spikes
from flashbulb.audit.stages.kept.recorded import open_recorded
from flashbulb.audit.stages.kept.resume import restore_settings
from flashbulb.audit.stages.opening import base, session
from flashbulb.audit.stages.recover import collect_targets
from flashbulb.audit.statistics.baseline import z_scores
from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.tables.files import TABLE_FILES, RunIncompleteError, sha256_of
from flashbulb.reports.tables.run_record import load_run
from tests.audit.commands import (
    CANDIDATES,
    ODD,
    QUICK,
    REFERENCE,
    digests,
    edit_run_json,
    refused,
    run_flashbulb,
    run_json,
    scores_of,
    shards,
    text_file,
    wait_for,
)
from tests.audit.conftest import RECORDING_OPTIONS
from tests.audit.counting import counted_latents
from tests.processes import fork_flashbulb
from tests.reports.run_files import seal_again
from tests.toy import build_toy_pipe, build_toy_xl_pipe

LEARNED = CANDIDATES[1]
"""A prompt that the base reads as any other; the fine-tune has made its letter y loud, which no other prompt has."""


class Pair(NamedTuple):
    """A base, its fine-tune, the prompts and the reference."""

    base: Path
    finetune: Path
    prompts: Path
    reference: Path

    def options(self, out: Path, *more: object) -> tuple[object, ...]:
        """Return the options of a quick audit of the fine-tune against its base."""
        models = ("--model", self.finetune, "--baseline-model", self.base)
        return (*models, "--prompts", self.prompts, "--reference", self.reference, "--out", out, *QUICK, *more)

    def recording(self, out: Path, *more: object) -> tuple[object, ...]:
        """Return the options of the recording of that audit."""
        return (*self.options(out)[: -len(QUICK)], *RECORDING_OPTIONS, *more)


@pytest.fixture(scope="module")
def pair(inputs, tmp_path_factory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    pipe = build_toy_pipe()
    letter = pipe.tokenizer.convert_tokens_to_ids("y</w>")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        pipe.text_encoder.get_input_embeddings().weight[letter] *= 30
        for parameter in pipe.unet.parameters():  # training moves every weight a little
            parameter *= 1 + 0.01 * torch.randn(parameter.shape, generator=generator)
    pipe.save_pretrained(folder / "finetune")
    prompts = text_file(folder / "prompts.txt", CANDIDATES)
    return Pair(inputs.model, folder / "finetune", prompts, text_file(folder / "reference.txt", REFERENCE))


@pytest.fixture(scope="module")
def audited(pair, tmp_path_factory) -> Path:
    """The finished audit of the pair. Read-only."""
    run = tmp_path_factory.mktemp("audited") / "run"
    answer = run_flashbulb("audit", *pair.options(run))
    assert answer.code == 0, answer.err
    return run


def by_prompt(run):
    return scores_of(run).set_index("prompt")


def test_what_the_fine_tune_alone_learned_is_flagged_and_what_the_base_knew_is_not(audited):
    scores = by_prompt(audited)
    assert scores.loc[LEARNED, "flagged"]
    assert not scores.loc[LEARNED, "known_by_base"]
    assert not scores.loc[ODD, "flagged"]
    assert scores.loc[ODD, "known_by_base"]


def test_without_a_base_the_same_prompts_are_both_flagged(pair, tmp_path):
    given = pair.options(tmp_path / "run", "--max-sampled", "0")
    options = [option for option in given if option not in ("--baseline-model", pair.base)]
    assert run_flashbulb("audit", *options).code == 0
    scores = by_prompt(tmp_path / "run")
    assert scores.loc[[LEARNED, ODD], "flagged"].all()
    assert not {"known_by_base", "spike_score_base", "spike_score_finetune"} & {*scores.columns}
    assert run_json(tmp_path / "run")["base"] is None


def test_each_model_has_the_scores_of_an_audit_alone_in_the_unit_of_the_fine_tune(pair, audited, tmp_path):
    scores = by_prompt(audited)
    for name, model in (("spike_score_finetune", pair.finetune), ("spike_score_base", pair.base)):
        run = tmp_path / name
        files = ("--prompts", pair.prompts, "--reference", pair.reference)
        assert run_flashbulb("record", "--model", model, *files, "--out", run, "--seeds", "2").code == 0
        assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
        alone = by_prompt(run).loc[scores.index]
        unit = scores["spikes_feed_forward"] / scores["spike_score_finetune"]
        of_model = alone["spikes_feed_forward"] / unit
        np.testing.assert_allclose(scores[name], of_model, rtol=1e-9)
        if name == "spike_score_base":
            assert (alone["flagged"] == scores["known_by_base"]).all()
        else:
            assert (alone["spike_score"] == scores[name]).all()
    assert (scores["spike_score"] == scores["spike_score_finetune"] - scores["spike_score_base"]).all()


def test_spikes_and_figures_of_a_run_speak_of_the_difference(audited):
    spikes = pd.read_parquet(audited / "spikes.parquet")
    assert (spikes["z"] == spikes["z_finetune"] - spikes["z_base"]).all()
    assert (spikes.groupby("prompt_id")["z"].apply(lambda z: z.abs().is_monotonic_decreasing)).all()
    assert spikes["z_base"].abs().max() > 0
    page = (audited / "report.html").read_text(encoding="utf-8")
    assert "z is the z of the fine-tune minus that of the base" in page


def test_an_ascent_climbs_the_neurons_that_rose_most_above_the_base(audited, tmp_path):
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    with RunDirectory.reopen(run) as directory:
        recorded = open_recorded(run, restore_settings(directory, {}))
        detection = detect_spikes(recorded, directory, Stopwatch(), writes_scores=True)
    prompts, settings = recorded.inputs.candidates.prompts, recorded.inputs.settings
    index = next(i for i, g in enumerate(detection.detected.scored.groups) if g.kind == settings.ascend_kind)
    own, of_base = (g[index] for g in (detection.detected.scored.groups, detection.detected.base_groups))
    position = next(i for i, prompt in enumerate(prompts) if prompt.text == LEARNED)
    z, z_base = (
        z_scores(shards.matrix(group.columns)[[position]], group.baseline_of(position))[0].astype(np.float64)
        for group, shards in ((own, recorded.shards("candidates")), (of_base, recorded.base_shards("candidates")))
    )
    rise = z - z_base
    target = collect_targets(own, prompts, detection)[position]
    highest = np.argsort(-np.abs(rise))[: settings.ascend_neurons]
    assert set(target.neurons) == set(highest.tolist())
    assert target.signs == tuple(np.sign(rise[list(target.neurons)]))
    assert set(target.neurons) != set(np.argsort(-np.abs(z))[: settings.ascend_neurons].tolist())


def test_a_run_whose_spikes_are_of_the_fine_tune_alone_is_refused(audited, tmp_path):
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    table = pq.read_table(run / "spikes.parquet").drop_columns(["z_base"])
    pq.write_table(table, run / "spikes.parquet")
    edit_run_json(run, "tables", "spikes.parquet", value=sha256_of(run / "spikes.parquet"))
    seal_again(run)
    with pytest.raises(RunIncompleteError, match="names a base model"):
        load_checked(run)


def test_every_report_lists_apart_what_the_base_knew(audited):
    record, n_known = load_run(audited), int(scores_of(audited)["known_by_base"].sum())
    assert record.counts.n_known_by_base == n_known > 0
    assert record.base is not None
    for name in ("summary.md", "report.html"):
        text = (audited / name).read_text(encoding="utf-8")
        assert "What the base already knew" in text
        assert record.base.fingerprint in text
    odd = scores_of(audited).set_index("prompt").loc[ODD, "prompt_id"]
    assert odd not in (audited / "findings.jsonl").read_text(encoding="utf-8")


def test_a_count_of_what_the_base_knew_that_the_table_does_not_hold_is_refused(audited, tmp_path):
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    edit_run_json(run, "counts", "n_known_by_base", value=0)
    with pytest.raises(RunIncompleteError, match="known by the base"):
        load_checked(run)


def test_stages_one_at_a_time_give_the_tables_of_an_audit(pair, audited, tmp_path):
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
        name: sha256_of(audited / name) for name in TABLE_FILES
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


def test_a_finished_audit_is_repeated_without_a_new_recording(pair, audited, tmp_path):
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    before = shards(run)
    assert run_flashbulb("detect", run, "--fpr", "0.1").code == 0
    assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
    assert run_flashbulb("recover", run).code == 0
    assert shards(run) == before
    assert sha256_of(run / "scores.parquet") == sha256_of(audited / "scores.parquet")


def test_another_base_is_refused_for_a_recorded_run(pair, audited, tmp_path):
    build_toy_pipe(seed=1).save_pretrained(tmp_path / "other")
    options = [tmp_path / "other" if option == pair.base else option for option in pair.options(audited)]
    assert "base_fingerprint" in refused("audit", *options)


def test_the_model_itself_is_no_base(pair, tmp_path):
    options = [pair.finetune if option == pair.base else option for option in pair.options(tmp_path / "run")]
    line = refused("audit", *options)
    assert "is the model itself" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (build_toy_xl_pipe, "Stable Diffusion XL"),
        (lambda: build_toy_pipe(use_linear_projection=True), None),
    ],
    ids=["another family", "the same neurons in other layers"],
)
def test_a_base_needs_the_family_and_the_neurons_of_the_model(pair, tmp_path, build, complaint):
    build().save_pretrained(tmp_path / "other")
    options = [tmp_path / "other" if option == pair.base else option for option in pair.options(tmp_path / "run")]
    if complaint is None:
        assert run_flashbulb("validate", *options).code == 0
    else:
        assert complaint in refused("audit", *options)


def test_a_base_of_other_sizes_is_refused(pair, tmp_path):
    pipe = build_toy_pipe()
    config = {**pipe.unet.config, "block_out_channels": (32, 96)}
    pipe.unet = type(pipe.unet).from_config({k: v for k, v in config.items() if not k.startswith("_")})
    pipe.save_pretrained(tmp_path / "other")
    options = [tmp_path / "other" if option == pair.base else option for option in pair.options(tmp_path / "run")]
    assert "has other neurons than the model" in refused("audit", *options)


def test_a_calibration_of_one_model_is_refused(pair, tmp_path):
    folder = tmp_path / "calibration"
    words = ("--model", pair.finetune, "--reference", pair.reference, "--out", folder, "--seeds", "2")
    assert run_flashbulb("calibrate", *words).code == 0
    models = ("--model", pair.finetune, "--baseline-model", pair.base)
    line = refused("audit", *models, "--prompts", pair.prompts, "--calibration", folder, "--out", tmp_path / "run")
    assert "--baseline-model needs reference prompts recorded on both models" in line


def test_without_a_reference_candidates_calibrate_their_own_differences(pair, tmp_path):
    text_file(tmp_path / "many.txt", [*REFERENCE, *CANDIDATES])
    models = ("--model", pair.finetune, "--baseline-model", pair.base)
    words = (*models, "--prompts", tmp_path / "many.txt", "--out", tmp_path / "run", *QUICK, "--max-sampled", "0")
    assert run_flashbulb("audit", *words).code == 0
    scores = by_prompt(tmp_path / "run")
    assert scores["spike_score"].idxmax() == LEARNED
    assert scores.loc[LEARNED, "flagged"]


def test_the_plan_counts_what_the_audit_evaluates_on_both_models(pair, audited, tmp_path):
    answer = run_flashbulb("validate", *pair.options(tmp_path / "run"), "--json")
    plan, spent = json.loads(answer.out), run_json(audited)["evaluations"]
    for stage in ("record", "record_base"):
        assert plan["evaluations"][stage] == {"low": spent[stage], "high": spent[stage]}
    assert plan["base"]["fingerprint"] == run_json(audited)["base"]["fingerprint"]
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


def test_a_redacted_page_names_what_the_base_knew_by_file_and_row(audited, tmp_path):
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    assert run_flashbulb("report", run, "--redact-prompts").code == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What the base already knew" in page
    assert not [prompt for prompt in CANDIDATES if prompt in page]


def test_extrapolation_samples_away_from_the_base_and_counts_both_models(pair, audited, tmp_path):
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    before = run_json(run)["evaluations"]["recover"]
    with counted_latents() as count:
        answer = run_flashbulb("recover", run, "--strategy", "sample", "--strategy", "extrapolate")
    assert answer.code == 0, answer.err
    attempts = pd.read_parquet(run / "recoveries.parquet")
    tried = attempts[attempts["strategy"] == "extrapolate"]
    assert set(tried["is_control"]) == {True, False}  # controls as always
    assert run_json(run)["evaluations"]["recover"] - before == tried["evaluations"].sum()
    assert count.n_latents == tried["evaluations"].sum()
    n_sampled = 2 * 2 * 2 * 2  # models, seeds, steps, guidance
    assert (tried["evaluations"] >= n_sampled).all()


def test_extrapolation_needs_a_base(inputs, tmp_path):
    line = refused("audit", *inputs.options(tmp_path / "run"), "--strategy", "extrapolate")
    assert "give --baseline-model" in line
