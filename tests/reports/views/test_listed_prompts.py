"""The prompts that summaries name come in the order of suspicion."""

import pyarrow as pa

from flashbulb.reports.views.listed_prompts import most_suspicious

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
