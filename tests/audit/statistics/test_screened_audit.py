"""A screened audit scores the prompts that it keeps as a full one does, and says what it left out."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from flashbulb.reports.tables.run_record import load_run
from tests.audit.commands import ODD, QUICK, refused, run_flashbulb, run_json, scores_of, text_file
from tests.audit.conftest import Inputs
from tests.audit.statistics.screened_prompts import CANDIDATES, REFERENCE
from tests.tolerances import ARITHMETIC

N_SEEDS = 2
SAME_BATCHES = ("--batch-size", N_SEEDS)  # one prompt per call makes recordings equal to the bit
ONE_STYLE = ("--max-style-shift", "1")  # so few prompts differ in style by chance
SCREENED = ("--tiers", "screened", "--screened-share", "0.1")
PROMPT_COLUMNS = {
    "prompt_id",
    "prompt",
    "source_file",
    "source_row",
    "n_duplicates",
    "tier",
    "screen",
    "flagged",
    "severity",
}


class Pair(NamedTuple):
    """The same audit with and without tier 0, and its inputs."""

    inputs: Inputs
    full: Path
    screened: Path

    def options(self, out: Path, *more: object) -> tuple[object, ...]:
        return (*self.inputs.options(out), *ONE_STYLE, "--max-sampled", "1", *more)


@pytest.fixture(scope="module")
def pair(inputs, tmp_path_factory) -> Pair:
    """Run both audits; do not change the runs."""
    folder = tmp_path_factory.mktemp("screened")
    prompts, reference = text_file(folder / "p.txt", CANDIDATES), text_file(folder / "r.txt", REFERENCE)
    pair = Pair(inputs._replace(prompts=prompts, reference=reference), folder / "full", folder / "screened")
    for run, more in ((pair.full, ()), (pair.screened, SCREENED)):
        answer = run_flashbulb("audit", *pair.options(run, *SAME_BATCHES), *more)
        assert answer.code == 0, answer.err
    return pair


def prompts_left_out(run: Path) -> pd.DataFrame:
    scores = scores_of(run)
    return scores[scores["tier"] == 0]


def test_prompts_left_out_have_a_screen_score_and_no_other_score(pair):
    left_out = prompts_left_out(pair.screened)
    assert 0 < len(left_out) < len(CANDIDATES)
    assert left_out["screen"].notna().all()
    assert not left_out["flagged"].any()
    assert set(left_out["severity"]) == {"none"}
    score_columns = [name for name in left_out.columns if name not in PROMPT_COLUMNS]
    assert {"spike_score", "p_value", "q_value", "spikes_text_mlp", "text_conditional_noise"} <= set(score_columns)
    assert left_out[score_columns].isna().all(axis=None)


def test_prompts_left_out_have_the_lowest_screen_scores(pair):
    scores = scores_of(pair.screened)
    is_left_out = scores["tier"] == 0
    assert scores["screen"].notna().all()
    assert scores["screen"][is_left_out].max() < scores["screen"][~is_left_out].min()
    assert scores["spike_score"][~is_left_out].notna().all()
    assert scores["prompt"][scores["screen"].idxmax()] == ODD


def test_prompts_left_out_are_tests_that_found_nothing(pair):
    """With the number of the others alone, the lowest p-values of all would be held to those of a part."""
    scores = scores_of(pair.screened)
    q = stats.false_discovery_control(scores["p_value"].fillna(1.0))
    is_scored = scores["tier"] > 0
    np.testing.assert_allclose(scores["q_value"][is_scored], q[is_scored])


def test_the_other_prompts_score_as_in_a_full_audit(pair):
    full = scores_of(pair.full).set_index("prompt_id")
    kept = scores_of(pair.screened).query("tier > 0").set_index("prompt_id")
    assert set(full.columns) == set(kept.columns) - {"screen"}
    assert len(kept) > 1
    for name in ("nemo", "text_conditional_noise", "mean_one_step_agreement", "flagged"):
        pd.testing.assert_series_equal(kept[name], full.loc[kept.index, name], check_exact=True)
    for name in (*(name for name in full.columns if name.startswith("spikes_")), "spike_score", "p_value"):
        pd.testing.assert_series_equal(kept[name], full.loc[kept.index, name], rtol=ARITHMETIC)


def test_each_prompt_left_out_saves_one_evaluation_per_seed(pair):
    full, screened = (run_json(run)["evaluations"]["record"] for run in (pair.full, pair.screened))
    assert full == N_SEEDS * (len(REFERENCE) + len(CANDIDATES) + 1)
    assert full - screened == N_SEEDS * len(prompts_left_out(pair.screened))


def test_prompts_left_out_are_neither_recorded_nor_sampled_and_have_no_spikes(pair):
    left_out = set(prompts_left_out(pair.screened)["prompt_id"])
    for name in ("spikes", "recoveries"):
        table = pd.read_parquet(pair.screened / f"{name}.parquet")
        assert len(table) > 0
        assert not left_out & set(table["prompt_id"])
    for path in (pair.screened / "activations" / "candidates").rglob("*.parquet"):
        assert not left_out & set(pd.read_parquet(path, columns=["prompt_id"])["prompt_id"])


def test_counts_add_up_and_the_gate_agrees(pair):
    record = load_run(pair.screened)
    scores = scores_of(pair.screened)
    assert record.counts.n_prompts == record.counts.n_scored == len(scores) == len(CANDIDATES)
    assert record.counts.n_left_out == len(prompts_left_out(pair.screened))
    assert record.counts.n_flagged == scores["flagged"].sum()
    assert sum(style.n_candidates for style in record.calibration.styles) == (scores["tier"] > 0).sum()
    assert sorted(scores["prompt"]) == sorted(CANDIDATES)
    answer = run_flashbulb("gate", pair.screened)
    assert answer.code == record.verdict.exit_code == 0
    assert answer.out.startswith("inconclusive: ")  # of so few prompts
    summary = (pair.screened / "summary.md").read_text(encoding="utf-8")
    assert f"| of them left out by tier 0 | {record.counts.n_left_out} |" in summary


def test_a_full_audit_leaves_out_no_prompt(pair):
    assert "screen" not in scores_of(pair.full)
    assert load_run(pair.full).counts.n_left_out == 0


def test_repeating_the_command_leaves_out_the_same_prompts(pair):
    expected = scores_of(pair.screened)
    assert run_flashbulb("audit", *pair.options(pair.screened, *SAME_BATCHES), *SCREENED).code == 0
    pd.testing.assert_frame_equal(scores_of(pair.screened), expected, check_exact=True)


def test_a_share_near_zero_leaves_out_no_prompt_of_another_style(pair, tmp_path):
    prompts = text_file(tmp_path / "p.txt", [ODD, "x" * 99])
    options = pair._replace(inputs=pair.inputs._replace(prompts=prompts)).options(tmp_path / "run", *SCREENED)
    assert run_flashbulb("audit", *options, "--screened-share", "0.001").code == 0
    scores = scores_of(tmp_path / "run")
    assert scores["tier"].gt(0).all()
    assert scores["screen"].notna().all()
    assert load_run(tmp_path / "run").counts.n_left_out == 0
    assert run_flashbulb("gate", tmp_path / "run").code == 0


def test_a_share_near_one_keeps_the_outlier(pair, tmp_path):
    prompts = text_file(tmp_path / "p.txt", [*REFERENCE[:4], ODD])
    options = pair._replace(inputs=pair.inputs._replace(prompts=prompts)).options(tmp_path / "run", *SCREENED)
    assert run_flashbulb("audit", *options, "--screened-share", "0.999").code == 0
    assert scores_of(tmp_path / "run").query("tier > 0")["prompt"].tolist() == [ODD]
    assert load_run(tmp_path / "run").counts.n_left_out == 4
    assert run_flashbulb("gate", tmp_path / "run").code == 0


def test_a_saved_calibration_screens_as_its_reference_does(pair, tmp_path):
    shared = ("--model", pair.inputs.model, "--seeds", N_SEEDS, *SAME_BATCHES)
    assert run_flashbulb("calibrate", *shared, "--reference", pair.inputs.reference, "--out", tmp_path / "c").code == 0
    options = ("--prompts", pair.inputs.prompts, "--calibration", tmp_path / "c", "--out", tmp_path / "run")
    answer = run_flashbulb("audit", *shared, *options, *ONE_STYLE, "--fpr", "0.2", "--max-sampled", "0", *SCREENED)
    assert answer.code == 0, answer.err
    by_reference, by_calibration = scores_of(pair.screened), scores_of(tmp_path / "run")
    for name in ("prompt_id", "screen", "spike_score", "p_value", "flagged"):
        pd.testing.assert_series_equal(by_calibration[name], by_reference[name], check_exact=True)


MISTAKES = {
    "no reference": ((), "give --reference or --calibration"),
    "no prompt sites": (("--sites", "feed_forward", "--sites", "cross_out"), "cross_k, cross_v, text_mlp"),
    "unknown tiers": (("--tiers", "fast"), "--tiers: "),
    "share of 0": (("--screened-share", "0"), "--screened-share: "),
    "share of 1": (("--screened-share", "1"), "--screened-share: "),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_one_line(inputs, tmp_path, kind):
    changes, expected = MISTAKES[kind]
    options = ("--model", inputs.model, "--prompts", inputs.prompts, "--out", tmp_path / "run", *QUICK, *SCREENED)
    reference = () if kind == "no reference" else ("--reference", inputs.reference)
    assert expected in refused("audit", *options, *reference, *changes)
    assert not (tmp_path / "run").exists()


def test_the_prompt_of_the_highest_score_is_never_left_out(pair, tmp_path):
    prompts = text_file(tmp_path / "p.txt", REFERENCE[:4])
    options = pair._replace(inputs=pair.inputs._replace(prompts=prompts)).options(tmp_path / "run", *SCREENED)
    assert run_flashbulb("audit", *options, "--screened-share", "0.999").code == 0
    scores = scores_of(tmp_path / "run").sort_values("screen")
    assert (scores["tier"] > 0).tolist() == [False, False, False, True]
    counts = load_run(tmp_path / "run").counts
    assert (counts.n_prompts, counts.n_scored, counts.n_left_out, counts.n_flagged) == (4, 4, 3, 0)
    assert run_flashbulb("gate", tmp_path / "run").code == 0


def test_style_shift_counts_the_prompts_left_out(pair):
    full, screened = (load_run(run).calibration.style_shift for run in (pair.full, pair.screened))
    assert full is not None
    assert screened == full
