"""A misspelled word leads to the nearest one, whatever their order."""

from flashbulb.reports.views.suggestions import nearest_word


def test_the_most_similar_word_is_found_in_any_order() -> None:
    words = ["n_seeds", "n_samples", "seed"]
    assert nearest_word("n_seed", words) == nearest_word("n_seed", reversed(words)) == "n_seeds"


def test_nothing_is_suggested_where_no_word_is_similar() -> None:
    assert nearest_word("xyz", ["n_seeds"]) is None
    assert nearest_word("xyz", []) is None
