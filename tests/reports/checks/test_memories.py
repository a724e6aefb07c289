"""The images that prompts give must agree with the attempts that gave them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flashbulb.reports.bounds.replication import replication_of
from flashbulb.reports.checks.collection import collect_findings
from flashbulb.reports.checks.outcomes import check_memories, check_outcomes
from flashbulb.reports.tables.files import RunIncompleteError
from tests.reports.examples import attempt, attempts_table, memories_table, memory, scores_table

Rows = list[dict[str, Any]]
COPY = {"nearest_image": "fox.png", "similarity": 0.9, "kind": "verbatim"}
FAR = {"nearest_image": "cat.png", "similarity": 0.4}
ATTEMPTS = [
    attempt("p0", "confirmed", **COPY),
    attempt("p1", "not_shown", **FAR),
    attempt("p1", "likely", "ascend", **FAR),
    attempt("p2", "not_shown", **FAR),
    attempt("p3", "likely", is_control=True, finding_id=None, **FAR),
]
OWN = [memory(ATTEMPTS[i]) for i in (0, 2, 4)]
OTHER = memory(
    ATTEMPTS[0], finding_id="f-other", p_hits=1, p_low=replication_of(1, 4).low, p_high=replication_of(1, 4).high
)


def check(rows: Rows, has_training_images: bool = True) -> None:
    check_memories(Path("memories.parquet"), memories_table(rows), attempts_table(ATTEMPTS), has_training_images)


def test_several_images_of_one_prompt_are_accepted() -> None:
    check([OWN[0], OTHER, *OWN[1:]])


def changed(row: int, **changes: Any) -> Callable[[], Rows]:
    return lambda: [own | (changes if i == row else {}) for i, own in enumerate(OWN)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda: OWN[1:], "memories of 2 prompts, an image was recovered from 3"),
        (lambda: [*OWN, memory(ATTEMPTS[0], prompt_id="p2")], "memories of 4 prompts"),
        (lambda: [OTHER, *OWN], "the first memory is not the finding of"),
        (lambda: [OWN[0], *OWN], "a finding_id is missing, left over or repeated for"),
        (changed(2, finding_id="f-p3"), "the first memory is not the finding of"),
        (lambda: [*OWN, memory(ATTEMPTS[0], finding_id=None)], "a finding_id is missing, left over or repeated for"),
        (changed(0, is_control=True), "the first memory is not the finding of"),
        (changed(0, verdict="likely", confidence=0.7, kind=None, evidence="agreement"), "the best verdict is not that"),
        (changed(1, strategy="cyclic"), "a memory is of a strategy that was not tried on"),
        (changed(0, verdict="not_shown"), "the verdict 'not_shown' by 'copy'"),
        (changed(0, evidence="luck"), "the verdict 'confirmed' by 'luck'"),
        (changed(0, evidence="agreement"), "evidence 'agreement' but kind 'verbatim'"),
        (changed(0, similarity=0.7), "verdict 'confirmed' but kind 'verbatim', similarity 0.7"),
        (changed(1, confidence=0.4), "verdict 'likely' but kind None"),
        (changed(0, nearest_image=None), "nearest image None"),
        (changed(0, p_hits=5), "5 hits among 4 samples"),
        (changed(0, p_hits=-1), "-1 hits among 4 samples"),
        (changed(0, p_hits=3), "which are not those of 3 hits among 4 samples"),
        (changed(0, p_low=0.9), "which are not those of 4 hits among 4 samples"),
        (changed(0, p_high=2.0), "a p_high of 2.0, which is not between 0 and 1"),
        (changed(0, image_path="../secret.png"), "../secret.png"),
        (
            lambda: [*OWN, OTHER | {"p_samples": 3, "p_hits": 3, "p_low": replication_of(3, 3).low, "p_high": 1.0}],
            "the memories count different numbers of samples of",
        ),
    ],
)
def test_what_contradicts_the_attempts_is_refused(rows: Callable[[], Rows], message: str) -> None:
    check(OWN)
    with pytest.raises(RunIncompleteError) as refused:
        check(rows())
    assert message in str(refused.value)


def test_among_equal_findings_the_image_that_comes_back_more_often_is_first() -> None:
    rows_of_scores = [row | {"flagged": True, "severity": "high"} for row in scores_table(["a", "b", "c"]).to_pylist()]
    scores = pa.Table.from_pylist(rows_of_scores)
    ids = scores["prompt_id"].to_pylist()
    attempts = [attempt(prompt_id, "confirmed", finding_id=f"f-{prompt_id}") for prompt_id in ids]
    often = [replication_of(hits, 16) for hits in (1, 16, 3)]
    rows = [
        memory(row, p_hits=replication.hits, p_samples=16, p_low=replication.low, p_high=replication.high)
        for row, replication in zip(attempts, often, strict=True)
    ]
    found = collect_findings(scores, attempts_table(attempts), memories_table(rows))
    assert [finding.replication.hits for finding in found if finding.replication] == [16, 3, 1]
    assert found[1].headline(False).endswith("was recovered, in 3 of 16 samples (p 0.19, 95 % 0.027 to 0.51)")


RETURNING = [attempt(f"f{i}", "likely", confidence=None, alike_seeds=1, alike_prompts=0) for i in range(20)]
QUIET = {"is_control": True, "finding_id": None, "confidence": None, "alike_prompts": 0}
CONTROLS = [attempt(f"c{i}", "not_shown", alike_seeds=0, **QUIET) for i in range(20)]


def check_returning(attempts: Rows, **changes: Any) -> None:
    rows = [memory(row, evidence="recurrence") | changes for row in attempts if row["verdict"] != "not_shown"]
    table = attempts_table(attempts)
    check_outcomes(Path("recoveries.parquet"), table, has_training_images=False)
    check_memories(Path("memories.parquet"), memories_table(rows), table, has_training_images=False)


def test_images_that_come_back_are_likely_without_confidence() -> None:
    check_returning([*RETURNING, *CONTROLS])


@pytest.mark.parametrize(
    ("attempts", "changes", "message"),
    [
        ([*RETURNING, *CONTROLS[1:], CONTROLS[0] | {"alike_seeds": 1}], {}, "verdict 'likely' but kind None"),
        (RETURNING, {}, "verdict 'likely' but kind None"),
        ([*RETURNING[1:], RETURNING[0] | {"alike_seeds": 0}, *CONTROLS], {}, "verdict 'likely' but kind None"),
        ([*RETURNING[1:], RETURNING[0] | {"verdict": "not_shown"}, *CONTROLS], {}, "an image that comes back"),
        ([*RETURNING[1:], RETURNING[0] | {"alike_seeds": -1}, *CONTROLS], {}, "alike_seeds -1"),
        ([*RETURNING[1:], RETURNING[0] | {"alike_prompts": None}, *CONTROLS], {}, "alike_prompts None"),
        ([*RETURNING, *CONTROLS], {"evidence": "agreement"}, "verdict 'likely' but kind None"),
        ([*RETURNING, *CONTROLS], {"verdict": "confirmed", "confidence": 0.95}, "by an image that comes back"),
    ],
)
def test_what_contradicts_images_that_come_back_is_refused(
    attempts: Rows, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunIncompleteError, match=message):
        check_returning(attempts, **changes)
