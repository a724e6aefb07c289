"""What stands behind the verdict: held-out p-values, profiles over sites, and what words alone tell."""

import numpy as np
import polars as pl
import pytest

from audit.flagging import held_out_p_values
from audit.style import StyleGroups
from reports.evidence_tables import SPIKE_LIMIT
from tests.audit.commands import CANDIDATES, REFERENCE, engram, run_json, scores_of


def styles_of(*sizes: int) -> StyleGroups:
    of_reference = np.repeat(np.arange(len(sizes)), sizes)
    return StyleGroups(of_reference, np.zeros(0, dtype=np.int64), len(sizes))


def test_held_out_p_values_of_clean_prompts_are_uniform() -> None:
    scores = np.random.default_rng(0).gamma(20, 0.05, 6000)
    p = held_out_p_values(scores, styles_of(6000))
    for rate in (0.001, 0.01, 0.1, 0.5):
        spread = 4 * np.sqrt(rate * (1 - rate) / 6000) + 0.001
        assert abs((p <= rate).mean() - rate) < spread


def test_a_held_out_prompt_takes_no_part_in_its_own_p_value() -> None:
    scores = np.random.default_rng(1).gamma(20, 0.05, 200)
    raised = scores.copy()
    raised[17] = 50.0
    before, after = (held_out_p_values(values, styles_of(200)) for values in (scores, raised))
    others_of_its_fold = np.flatnonzero(np.arange(200) % 5 == 17 % 5)
    unmoved = others_of_its_fold[others_of_its_fold != 17]
    assert np.array_equal(before[unmoved], after[unmoved])
    assert after[17] < 1e-6


def test_each_style_is_held_out_by_itself() -> None:
    rng = np.random.default_rng(2)
    low, high = rng.gamma(20, 0.05, 100), 10 + rng.gamma(20, 0.05, 100)
    together = held_out_p_values(np.concatenate([low, high]), styles_of(100, 100))
    assert np.array_equal(together[:100], held_out_p_values(low, styles_of(100)))
    assert np.array_equal(together[100:], held_out_p_values(high, styles_of(100)))


def test_a_style_of_one_prompt_has_no_held_out_p_value() -> None:
    assert np.isnan(held_out_p_values(np.array([1.0]), styles_of(1))).all()


@pytest.fixture(scope="module")
def profiles(finished) -> pl.DataFrame:
    return pl.read_parquet(finished.run / "site_profiles.parquet")


def test_flagged_prompts_and_controls_have_a_profile_over_all_sites(finished, profiles) -> None:
    scores = scores_of(finished.run)
    recoveries = pl.read_parquet(finished.run / "recoveries.parquet")
    controls = set(recoveries.filter(pl.col("is_control"))["prompt_id"])
    flagged = set(scores[scores.flagged].prompt_id)
    assert set(profiles.filter(~pl.col("is_control"))["prompt_id"]) == flagged
    assert set(profiles.filter(pl.col("is_control"))["prompt_id"]) == controls
    n_sites = profiles["site"].n_unique()
    assert profiles.height == n_sites * (len(flagged) + len(controls))
    assert profiles["kind"].n_unique() == 5


def test_a_profile_and_the_score_of_its_kind_tell_the_same(finished, profiles) -> None:
    scores = scores_of(finished.run).set_index("prompt_id")
    of_kind = profiles.filter(pl.col("kind") == "feed_forward")
    squares = of_kind.group_by("prompt_id").agg(
        ((pl.col("rms_z") ** 2 * pl.col("n_neurons")).sum() / pl.col("n_neurons").sum()).sqrt().alias("rms")
    )
    for prompt_id, rms in squares.iter_rows():
        assert rms == pytest.approx(scores.loc[prompt_id, "spikes_feed_forward"], rel=1e-5)


def test_the_share_of_spikes_is_that_of_neurons_beyond_the_limit(finished, profiles) -> None:
    spikes = pl.read_parquet(finished.run / "spikes.parquet").filter(pl.col("z").abs() > SPIKE_LIMIT)
    listed = spikes.group_by("prompt_id", "site").len().join(profiles, on=["prompt_id", "site"])
    assert listed.height > 0
    n_columns = 2  # text sites are scored by two token classes
    assert (listed["len"] <= listed["spike_share"] * listed["n_neurons"] * n_columns + 1e-6).all()


def test_reference_scores_are_kept_with_a_row_a_reference_prompt(finished) -> None:
    kept = pl.read_parquet(finished.run / "reference_scores.parquet")
    assert kept.height == len(REFERENCE)
    assert kept["held_out_p_value"].is_between(0, 1, closed="right").all()


def test_what_was_not_measured_is_an_empty_table(finished, inputs, tmp_path) -> None:
    """Of five candidates too few are flagged for a text-only null, and without a reference none is scored."""
    assert len(CANDIDATES) < 10
    assert pl.read_parquet(finished.run / "text_null.parquet").height == 0
    alone = [value for value in inputs.options(tmp_path / "run") if value not in ("--reference", inputs.reference)]
    assert engram("audit", *alone).code in (0, 3)
    assert pl.read_parquet(tmp_path / "run" / "reference_scores.parquet").height == 0


def test_the_text_null_is_the_auc_that_run_json_states(tmp_path, inputs) -> None:
    """With half of the candidates flagged there are enough of them."""
    prompts = tmp_path / "many.txt"
    prompts.write_text("".join(f"{word} {n}\n" for n in range(12) for word in ("red star", "@@@ zzq !!!")))
    options = [prompts if value == inputs.prompts else value for value in inputs.options(tmp_path / "run")]
    options[options.index("--fpr") + 1] = "0.45"
    assert engram("audit", *options, "--max-sampled", 0).code == 0
    null = pl.read_parquet(tmp_path / "run" / "text_null.parquet")
    flagged, others = (null.filter(pl.col("is_flagged") == side)["score"].to_numpy() for side in (True, False))
    wins = (flagged[:, None] > others).mean() + 0.5 * (flagged[:, None] == others).mean()
    stated = run_json(tmp_path / "run")["calibration"]["style_auc"]
    assert stated == pytest.approx(wins)
