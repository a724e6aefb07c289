"""The truth is a probability per seed with its exact interval; it counts what samples show, and resumes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from flashbulb.audit.images.distances import tile_distances
from flashbulb.audit.planted.truth import probability_columns
from flashbulb.reports.bounds.rates import exact_interval
from tests.bench.truth.bands import BANDS, band_of, read_truth
from tests.bench.truth.probabilities import Sampled, probabilities
from tests.bench.truth.sampled import PlantedImages, Sampling, identity_of, read_samples, sample_planted, tiles_of

BATCH_DISTANCE = 0.01
"""Images of another batch differ by their rounding to bytes."""


@pytest.mark.parametrize(("n_replicating", "n_seeds"), [(1, 8), (4, 8), (1, 64), (31, 64), (63, 64)])
def test_each_bound_leaves_one_in_forty_beyond_it(n_replicating: int, n_seeds: int) -> None:
    low, high = exact_interval(n_replicating, n_seeds)
    assert binom.sf(n_replicating - 1, n_seeds, low) == pytest.approx(0.025)
    assert binom.cdf(n_replicating, n_seeds, high) == pytest.approx(0.025)


def test_no_replica_and_no_miss_still_leave_an_interval() -> None:
    assert exact_interval(0, 64) == pytest.approx((0, 1 - 0.025 ** (1 / 64)))
    assert exact_interval(64, 64) == pytest.approx((0.025 ** (1 / 64), 1))


@pytest.mark.parametrize(
    ("n_replicating", "n_seeds", "band"),
    [(8, 8, 0), (32, 64, 0), (31, 64, 1), (1, 8, 1), (8, 64, 1), (7, 64, 2), (1, 64, 2), (0, 64, 3)],
)
def test_a_band_begins_at_its_bound(n_replicating: int, n_seeds: int, band: int) -> None:
    assert band_of(n_replicating, n_seeds) == BANDS[band]


def test_a_truth_of_counts_alone_is_read_with_its_probability(tmp_path: Path) -> None:
    counts = pd.DataFrame(
        {"prompt": ["a", "b"], "n_seeds": [8, 8], "n_replicating": [4, 0], "label": ["memorized", "not"]}
    )
    counts.to_parquet(tmp_path / "truth.parquet")
    truth = read_truth(tmp_path / "truth.parquet")
    assert list(truth.p) == [0.5, 0]
    assert list(truth.band) == [BANDS[0], BANDS[3]]
    assert list(zip(truth.p_low, truth.p_high, strict=True)) == [exact_interval(4, 8), exact_interval(0, 8)]


def test_all_distances_together_equal_those_one_by_one() -> None:
    rng = np.random.default_rng(0)
    samples, planted = (rng.integers(0, 256, size=(n, 16, 16, 3), dtype=np.uint8) for n in (3, 4))
    images = PlantedImages(("a", "b", "c", "d"), tiles_of(planted))
    expected = np.stack([tile_distances(samples, image) for image in planted], axis=1)
    np.testing.assert_allclose(images.distances(samples), expected, atol=1e-6)


def test_other_memories_of_a_caption_are_counted_apart() -> None:
    captions = pd.DataFrame(
        {"prompt": ["x", "y"], "kind": ["planted_title", "unseen"], "picture": ["a", ""], "weight": 1.0}
    )
    samples = pd.DataFrame(
        {
            "prompt": ["x", "x", "x", "x", "y"],
            "own": [0.1, 0.5, 0.5, 0.5, np.nan],
            "nearest": ["a", "b", "b", "a", "a"],
            "distance": [0.1, 0.15, 0.3, 0.4, 0.12],
        }
    )
    table = probabilities(Sampled(captions, samples, pd.DataFrame())).set_index("prompt")
    assert table.loc["x", ["n_replicating", "n_any", "n_images"]].tolist() == [1, 2, 2]
    assert table.loc["y", ["n_replicating", "n_any", "n_images"]].tolist() == [0, 1, 1]
    assert table.loc["x", "p"] == probability_columns(1, 4)["p"] == 0.25


@pytest.mark.parametrize("toy_preset", ["catalogue"], indirect=True)
def test_resumed_samples_equal_those_taken_at_once(trained: Path, tmp_path: Path) -> None:
    def sampling(n_seeds: int, batch_size: int) -> Sampling:
        return Sampling(n_seeds, 0, 1, batch_size, "cpu")

    sample_planted(trained, sampling(1, 8), tmp_path / "resumed.parquet")
    resumed = sample_planted(trained, sampling(2, 8), tmp_path / "resumed.parquet")
    at_once = sample_planted(trained, sampling(2, 50), tmp_path / "at-once.parquet")
    key = ["prompt", "seed"]
    first, second = (rows.sort_values(key, ignore_index=True) for rows in (resumed, at_once))
    assert first[key].to_numpy().tolist() == second[key].to_numpy().tolist()
    np.testing.assert_allclose(first[["own", "distance"]], second[["own", "distance"]], atol=BATCH_DISTANCE)
    own = pd.read_parquet(trained / "truth.parquet").set_index("prompt").distances
    assert at_once.own.to_numpy() == pytest.approx(
        [own[row.prompt][row.seed] for row in at_once.itertuples()], abs=BATCH_DISTANCE
    )


@pytest.mark.parametrize("toy_preset", ["catalogue"], indirect=True)
def test_samples_of_another_model_are_not_read(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    sample_planted(trained, Sampling(1, 0, 1, 50, "cpu"), path)
    assert len(read_samples(path, identity_of(trained, 1)))
    other = json.loads(identity_of(trained, 1)) | {"steps": 2}
    assert read_samples(path, json.dumps(other, sort_keys=True)).empty
