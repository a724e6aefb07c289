"""Sets of made-up neurons, written and scored."""

import pytest

from flashbulb.audit.statistics.scores import score_group
from tests.audit.neuron_sets import N_COMPONENTS, SITES, write_set


@pytest.fixture
def score(tmp_path):
    """Write both sets and score the feed-forward neurons; without a reference where it is None."""
    made = iter(range(1000))

    def run(candidates, reference, *, pooled, n_components=N_COMPONENTS, **how):
        shards = write_set(tmp_path / str(next(made)), candidates, **how)
        reference_shards = None if reference is None else write_set(tmp_path / str(next(made)), reference)
        group = score_group("feed_forward", SITES, shards, reference_shards, n_components=n_components, pooled=pooled)
        return group, shards

    return run
