"""`--baseline-model`: flags say what a fine-tune's training added, and what its base already knew is listed apart."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.stages.detect import detect_spikes
from flashbulb.audit.stages.kept.recorded import open_recorded
from flashbulb.audit.stages.kept.resume import restore_settings
from flashbulb.audit.stages.recover import collect_targets
from flashbulb.audit.statistics.baseline import z_scores
from flashbulb.reports.tables.run_record import load_run
from tests.audit.cli.trainings import LEARNED
from tests.audit.commands import (
    CANDIDATES,
    ODD,
    QUICK,
    REFERENCE,
    run_flashbulb,
    run_json,
    scores_of,
    text_file,
)


def by_prompt(run):
    return scores_of(run).set_index("prompt")


def test_what_the_fine_tune_alone_learned_is_flagged_and_what_the_base_knew_is_not(audited_pair):
    scores = by_prompt(audited_pair)
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


def test_each_model_has_the_scores_of_an_audit_alone_in_the_unit_of_the_fine_tune(pair, audited_pair, tmp_path):
    scores = by_prompt(audited_pair)
    for name, model in (("spike_score_finetune", pair.finetune), ("spike_score_base", pair.base)):
        run = tmp_path / name
        files = ("--prompts", pair.prompts, "--reference", pair.reference)
        assert run_flashbulb("record", "--model", model, *files, "--out", run, "--seeds", "2").code == 0
        assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
        alone = by_prompt(run).loc[scores.index]
        unit = scores["spikes_feed_forward"] / scores["spike_score_finetune"]
        expected = alone["spikes_feed_forward"] / unit
        np.testing.assert_allclose(scores[name], expected, rtol=1e-9)
        if name == "spike_score_base":
            assert (alone["flagged"] == scores["known_by_base"]).all()
        else:
            assert (alone["spike_score"] == scores[name]).all()
    assert (scores["spike_score"] == scores["spike_score_finetune"] - scores["spike_score_base"]).all()


def test_spikes_and_figures_of_a_run_speak_of_the_difference(audited_pair):
    spikes = pd.read_parquet(audited_pair / "spikes.parquet")
    assert (spikes["z"] == spikes["z_finetune"] - spikes["z_base"]).all()
    assert (spikes.groupby("prompt_id")["z"].apply(lambda z: z.abs().is_monotonic_decreasing)).all()
    assert spikes["z_base"].abs().max() > 0
    page = (audited_pair / "report.html").read_text(encoding="utf-8")
    assert "z is the z of the fine-tune minus that of the base" in page


def test_an_ascent_climbs_the_neurons_that_rose_most_above_the_base(audited_pair, tmp_path):
    run = Path(shutil.copytree(audited_pair, tmp_path / "run"))
    with RunDirectory.reopen(run) as directory:
        recorded = open_recorded(run, restore_settings(directory, {}))
        detection = detect_spikes(recorded, directory, Stopwatch(), writes_scores=True)
    prompts, settings = recorded.inputs.candidates.prompts, recorded.inputs.settings
    index = next(i for i, g in enumerate(detection.detected.scored.groups) if g.kind == settings.ascend_kind)
    own_group, base_group = (g[index] for g in (detection.detected.scored.groups, detection.detected.base_groups))
    position = next(i for i, prompt in enumerate(prompts) if prompt.text == LEARNED)
    z, z_base = (
        z_scores(shards.matrix(group.columns)[[position]], group.baseline_of(position))[0].astype(np.float64)
        for group, shards in (
            (own_group, recorded.shards("candidates")),
            (base_group, recorded.base_shards("candidates")),
        )
    )
    rise = z - z_base
    target = collect_targets(own_group, prompts, detection)[position]
    highest = np.argsort(-np.abs(rise))[: settings.ascend_neurons]
    assert set(target.neurons) == set(highest.tolist())
    assert target.signs == tuple(np.sign(rise[list(target.neurons)]))
    assert set(target.neurons) != set(np.argsort(-np.abs(z))[: settings.ascend_neurons].tolist())


def test_every_report_lists_apart_what_the_base_knew(audited_pair):
    record, n_known = load_run(audited_pair), int(scores_of(audited_pair)["known_by_base"].sum())
    assert record.counts.n_known_by_base == n_known > 0
    assert record.base is not None
    for name in ("summary.md", "report.html"):
        text = (audited_pair / name).read_text(encoding="utf-8")
        assert "What the base already knew" in text
        assert record.base.fingerprint in text
    odd = scores_of(audited_pair).set_index("prompt").loc[ODD, "prompt_id"]
    assert odd not in (audited_pair / "findings.jsonl").read_text(encoding="utf-8")


def test_without_a_reference_candidates_calibrate_their_own_differences(pair, tmp_path):
    text_file(tmp_path / "many.txt", [*REFERENCE, *CANDIDATES])
    models = ("--model", pair.finetune, "--baseline-model", pair.base)
    words = (*models, "--prompts", tmp_path / "many.txt", "--out", tmp_path / "run", *QUICK, "--max-sampled", "0")
    assert run_flashbulb("audit", *words).code == 0
    scores = by_prompt(tmp_path / "run")
    assert scores["spike_score"].idxmax() == LEARNED
    assert scores.loc[LEARNED, "flagged"]


def test_a_redacted_page_names_what_the_base_knew_by_file_and_row(audited_pair, tmp_path):
    run = Path(shutil.copytree(audited_pair, tmp_path / "run"))
    assert run_flashbulb("report", run, "--redact-prompts").code == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What the base already knew" in page
    assert not [prompt for prompt in CANDIDATES if prompt in page]
