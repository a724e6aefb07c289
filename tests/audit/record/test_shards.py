"""Chosen prompts of a recorded set are the rows of the matrix of all."""

import numpy as np
import pytest

from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics.scores import columns_of
from tests.audit.counting import counted_reads
from tests.audit.neuron_sets import N_NEURONS, SITES, noise, write_set

N_PROMPTS, N_SEEDS, SHARD_SIZE = 11, 3, 4


@pytest.mark.parametrize("kind", ["feed_forward", "text_mlp"])
@pytest.mark.parametrize("n_seeds_used", [1, 2, None])
def test_rows_equal_those_of_the_matrix_bit_for_bit(tmp_path, kind, n_seeds_used):
    rng = np.random.default_rng(0)
    by_seed = rng.normal(size=(N_PROMPTS, N_SEEDS, N_NEURONS)).astype(np.float32)
    write_set(tmp_path, by_seed, shard_size=SHARD_SIZE)
    shards, columns = Shards(tmp_path, 3, N_SEEDS, n_seeds_used), columns_of(kind, SITES)
    matrix = shards.matrix(columns)
    for positions in ([], [10], [9, 0, 3, 4], range(N_PROMPTS)):
        rows = dict(shards.rows(columns, positions))
        assert rows.keys() == set(positions)
        for position, row in rows.items():
            np.testing.assert_array_equal(row, matrix[position : position + 1])


def test_shards_without_a_chosen_prompt_are_not_read(tmp_path):
    shards = write_set(tmp_path, noise(N_PROMPTS, 0), shard_size=SHARD_SIZE)
    for positions, names in (
        ([], set()),
        ([5, 7], {"part-00001.parquet"}),
        ([0, 10], {"part-00000.parquet", "part-00002.parquet"}),
    ):
        with counted_reads() as reads:
            list(shards.rows(columns_of("feed_forward", SITES), positions))
        assert {path.name for path, _ in reads} == names
        assert set(reads.values()) <= {1}


def test_one_read_of_the_keys_gives_the_scores_of_every_detector(tmp_path):
    shards = write_set(tmp_path, noise(N_PROMPTS, 0), shard_size=SHARD_SIZE)
    scores = shards.detector_scores(["nice", "seed_index"])
    assert list(scores) == ["nice", "seed_index"]
    np.testing.assert_array_equal(scores["nice"], np.arange(N_PROMPTS))
    np.testing.assert_array_equal(scores["seed_index"], np.zeros(N_PROMPTS))
    assert shards.detector_scores([]) == {}
