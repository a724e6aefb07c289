"""The prompts that summaries name come in the order of suspicion."""

from dataclasses import replace

import pyarrow as pa
import pytest

from flashbulb.reports.views.listed_prompts import known_by_base, most_suspicious
from tests.reports.examples import run_record

SCORES = pa.table(
    {
        "prompt_id": ["left out", "low", "zero", "flagged", "high"],
        "flagged": [False, False, False, True, False],
        "spike_score": [None, -2.0, 0.0, 1.0, 3.0],
    }
)


def test_flagged_prompts_come_first_then_the_highest_scores_then_those_without_one():
    ordered = [row["prompt_id"] for row in most_suspicious(SCORES, 5)]
    assert ordered == ["flagged", "high", "zero", "low", "left out"]
    assert [row["prompt_id"] for row in most_suspicious(SCORES, 2)] == ordered[:2]


@pytest.mark.parametrize(
    ("flagged", "said"),
    [
        ([False, False], "These are no findings of the fine-tune."),
        ([True, False], "but 1 of them is flagged by the difference as well."),
        ([True, True], "but 2 of them are flagged by the difference as well."),
    ],
)
def test_how_many_that_the_base_knew_are_findings_all_the_same(flagged: list[bool], said: str) -> None:
    record = run_record()
    known = known_by_base(
        replace(record, counts=replace(record.counts, n_known_by_base=2)),
        pa.table({"flagged": flagged, "known_by_base": [True, True], "spike_score_base": [2.0, 1.0]}),
    )
    assert known is not None
    assert known.sentence.endswith(said)
