"""Where a neuron stands among columns side by side, and which neuron stands there, agree with the matrix itself."""

import numpy as np

from flashbulb.audit.record.columns import Column, Columns
from flashbulb.hooks import Site

FIRST = Site("text_encoder.a", "text_encoder", "a", "text_mlp", 3, "input")
SECOND = Site("text_encoder.b", "text_encoder", "b", "text_mlp", 5, "input")
COLUMNS = Columns(
    (
        Column(FIRST, "prompt_mean"),
        Column(SECOND, "prompt_mean"),
        Column(FIRST, "end_mean"),
        Column(SECOND, "end_mean"),
    )
)
BY_NAME = {  # a value names its column and its neuron
    column.name: np.arange(column.site.n_neurons, dtype=np.float32) + 10 * number + np.float32([[0.0], [100.0]])
    for number, column in enumerate(COLUMNS)
}


def test_joined_columns_hold_each_neuron_where_columns_say():
    matrix = COLUMNS.join(BY_NAME)
    assert matrix.shape == (2, COLUMNS.n_neurons)
    neurons = COLUMNS.neurons_at(np.arange(COLUMNS.n_neurons))
    for index, (column, neuron) in enumerate(neurons):
        np.testing.assert_array_equal(matrix[:, index], BY_NAME[column.name][:, neuron])
    assert COLUMNS.indices_of(neurons) == list(range(COLUMNS.n_neurons))


def test_any_indices_in_any_order_are_found_and_found_back():
    indices = np.array([15, 0, 2, 3, 8, 8, 7, 11])
    neurons = COLUMNS.neurons_at(indices)
    assert COLUMNS.indices_of(neurons) == indices.tolist()
    assert all(0 <= neuron < column.site.n_neurons for column, neuron in neurons)
    assert COLUMNS.neurons_at(np.zeros(0, dtype=np.int64)) == COLUMNS.indices_of([]) == []


def test_the_parts_of_a_site_are_its_columns_in_their_order():
    parts = COLUMNS.by_site(COLUMNS.join(BY_NAME))
    assert list(parts) == list(COLUMNS.sites) == [FIRST, SECOND]
    for site, part in parts.items():
        own = [BY_NAME[column.name] for column in COLUMNS if column.site == site]
        np.testing.assert_array_equal(part, np.concatenate(own, axis=1))
    assert sum(part.shape[1] for part in parts.values()) == COLUMNS.n_neurons
