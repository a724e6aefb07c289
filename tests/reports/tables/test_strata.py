"""Rates by number of occurrences are those of the prompts of each stratum."""

import pyarrow as pa

from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.tables.strata import Stratum, strata_of
from tests.reports.examples import attempt, attempts_table, scores_table


def with_occurrences(*occurrences: int) -> pa.Table:
    scores = scores_table([f"a {number}" for number in range(len(occurrences))])
    return scores.set_column(
        scores.column_names.index("n_duplicates"), "n_duplicates", pa.array(occurrences, pa.int32())
    )


def test_each_prompt_counts_in_the_stratum_of_its_occurrences() -> None:
    """The first two prompts are flagged and of high severity; only the second is confirmed, and so is a control."""
    attempts = [attempt("p0", "likely"), attempt("p1", "confirmed"), attempt("p4", "confirmed", is_control=True)]
    strata = strata_of(with_occurrences(3, 1, 2, 64, 1, 1000), attempts_table(attempts))
    assert strata == (
        Stratum("once", rate_of(1, 2), rate_of(1, 2), rate_of(1, 2)),
        Stratum("2 to 3 times", rate_of(1, 2), rate_of(1, 2), rate_of(0, 2)),
        Stratum("64 times or more", rate_of(0, 2), rate_of(0, 2), rate_of(0, 2)),
    )


def test_a_file_without_duplicates_has_no_strata() -> None:
    assert strata_of(with_occurrences(1, 1, 1), attempts_table([])) == ()
    assert strata_of(with_occurrences(4, 15), attempts_table([])) == ()
    assert len(strata_of(with_occurrences(15, 16), attempts_table([]))) == 2
