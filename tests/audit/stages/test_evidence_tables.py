"""The evidence behind a verdict: held-out p-values, site profiles, and the text-only null."""

import numpy as np
import polars as pl
import pytest

from flashbulb.audit.statistics.flags import held_out_p_values
from flashbulb.audit.statistics.style import StyleGroups
from flashbulb.reports.tables.evidence import SPIKE_LIMIT
from tests.audit.commands import CANDIDATES, REFERENCE, run_flashbulb, run_json, scores_of


def styles_of(*sizes: int) -> StyleGroups:
    reference_group = np.repeat(np.arange(len(sizes)), sizes)
    return StyleGroups(reference_group, np.zeros(0, dtype=np.int64), len(sizes))


def test_held_out_p_values_of_clean_prompts_are_uniform() -> None:
    scores = np.random.default_rng(0).gamma(20, 0.05, 6000)
    p = held_out_p_values(scores, styles_of(6000), 0.0)
    for rate in (0.001, 0.01, 0.1, 0.5):
        spread = 4 * np.sqrt(rate * (1 - rate) / 6000) + 0.001
        assert abs((p <= rate).mean() - rate) < spread


def test_a_held_out_prompt_does_not_affect_the_p_values_of_its_fold() -> None:
    scores = np.random.default_rng(1).gamma(20, 0.05, 200)
    raised = scores.copy()
    raised[17] = 50.0
    before, after = (held_out_p_values(values, styles_of(200), 0.0) for values in (scores, raised))
    fold = np.flatnonzero(np.arange(200) % 5 == 17 % 5)
    others = fold[fold != 17]
    assert np.array_equal(before[others], after[others])
    assert after[17] < 1e-6


def test_each_style_is_held_out_separately() -> None:
    rng = np.random.default_rng(2)
    low, high = rng.gamma(20, 0.05, 100), 10 + rng.gamma(20, 0.05, 100)
    together = held_out_p_values(np.concatenate([low, high]), styles_of(100, 100), 0.0)
    assert np.array_equal(together[:100], held_out_p_values(low, styles_of(100), 0.0))
    assert np.array_equal(together[100:], held_out_p_values(high, styles_of(100), 0.0))


def test_a_style_of_one_prompt_has_no_held_out_p_value() -> None:
    assert np.isnan(held_out_p_values(np.array([1.0]), styles_of(1), 0.0)).all()


@pytest.fixture(scope="module")
def profiles(finished) -> pl.DataFrame:
    return pl.read_parquet(finished.run / "site_profiles.parquet")


def test_flagged_prompts_and_controls_have_a_profile_of_every_site(finished, profiles) -> None:
    scores = scores_of(finished.run)
    recoveries = pl.read_parquet(finished.run / "recoveries.parquet")
    controls = set(recoveries.filter(pl.col("is_control"))["prompt_id"])
    flagged = set(scores[scores.flagged].prompt_id)
    assert set(profiles.filter(~pl.col("is_control"))["prompt_id"]) == flagged
    assert set(profiles.filter(pl.col("is_control"))["prompt_id"]) == controls
    n_sites = profiles["site"].n_unique()
    assert profiles.height == n_sites * (len(flagged) + len(controls))
    assert profiles["kind"].n_unique() == 5


def test_the_root_mean_square_of_a_profile_is_the_score_of_its_kind(finished, profiles) -> None:
    scores = scores_of(finished.run).set_index("prompt_id")
    feed_forward = profiles.filter(pl.col("kind") == "feed_forward")
    squares = feed_forward.group_by("prompt_id").agg(
        ((pl.col("rms_z") ** 2 * pl.col("n_neurons")).sum() / pl.col("n_neurons").sum()).sqrt().alias("rms")
    )
    for prompt_id, rms in squares.iter_rows():
        assert rms == pytest.approx(scores.loc[prompt_id, "spikes_feed_forward"], rel=1e-5)


def test_the_spike_share_covers_the_listed_neurons_beyond_the_limit(finished, profiles) -> None:
    spikes = pl.read_parquet(finished.run / "spikes.parquet").filter(pl.col("z").abs() > SPIKE_LIMIT)
    listed = spikes.group_by("prompt_id", "site").len().join(profiles, on=["prompt_id", "site"])
    assert listed.height > 0
    n_columns = 2  # text sites are scored by two token classes
    assert (listed["len"] <= listed["spike_share"] * listed["n_neurons"] * n_columns + 1e-6).all()


def test_reference_scores_have_one_row_for_each_reference_prompt(finished) -> None:
    table = pl.read_parquet(finished.run / "reference_scores.parquet")
    assert table.height == len(REFERENCE)
    assert table["held_out_p_value"].is_between(0, 1, closed="right").all()


def test_tables_of_what_was_not_measured_are_empty(finished, inputs, tmp_path) -> None:
    """Five candidates are too few for a text-only null, and without a reference there are no reference scores."""
    assert len(CANDIDATES) < 10
    assert pl.read_parquet(finished.run / "text_null.parquet").height == 0
    without_reference = [
        value for value in inputs.options(tmp_path / "run") if value not in ("--reference", inputs.reference)
    ]
    assert run_flashbulb("audit", *without_reference).code in (0, 3)
    assert pl.read_parquet(tmp_path / "run" / "reference_scores.parquet").height == 0


def test_run_json_holds_the_auc_of_the_text_null(tmp_path, inputs) -> None:
    """Half of the candidates are flagged, so there are enough for a text-only null."""
    prompts = tmp_path / "many.txt"
    prompts.write_text("".join(f"{word} {n}\n" for n in range(12) for word in ("red star", "@@@ zzq !!!")))
    options = [prompts if value == inputs.prompts else value for value in inputs.options(tmp_path / "run")]
    options[options.index("--fpr") + 1] = "0.45"
    assert run_flashbulb("audit", *options, "--max-sampled", 0).code == 0
    null = pl.read_parquet(tmp_path / "run" / "text_null.parquet")
    flagged, others = (null.filter(pl.col("is_flagged") == side)["score"].to_numpy() for side in (True, False))
    wins = (flagged[:, None] > others).mean() + 0.5 * (flagged[:, None] == others).mean()
    style_auc = run_json(tmp_path / "run")["calibration"]["style_auc"]
    assert style_auc == pytest.approx(wins)
