"""Whatever an audit judges is accepted; a verdict without what it rests on is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashbulb.audit.recover.outcome import Source, judge, severities
from flashbulb.audit.recover.parts import judge_part
from flashbulb.audit.stages.results.recovery_tables import recovery_row
from flashbulb.audit.statistics.calibration import q_values
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.reports.checks.outcomes import check_outcomes
from flashbulb.reports.checks.rows import check_scores
from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE
from flashbulb.reports.tables.run_record import StyleCalibration
from flashbulb.reports.tables.schema import scores_schema
from tests.audit.signs import CONVINCING, UNCONVINCING
from tests.reports.examples import DETECTORS, attempt, attempts_table, run_record, scores_table

SIDE, N_SEEDS = 16, 4
NEAR = {"nearest_image": "fox.png", "similarity": 0.9, "kind": "verbatim"}
FAR = {"nearest_image": "fox.png", "similarity": 0.4}


class Found:
    """Training images of which each sample is near to one: by its kind of copy and its distance."""

    def __init__(self, found: list[tuple[str | None, float]]) -> None:
        self._found = found

    def nearest(self, samples: np.ndarray) -> list[Nearest]:
        return [Nearest(i, Path(f"{i}.png"), d, False, kind) for i, (kind, d) in enumerate(self._found)]

    def image(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


FOUND = st.one_of(
    st.tuples(st.just("verbatim"), st.floats(0, REPLICATION_DISTANCE)),
    st.tuples(st.sampled_from([None, "template"]), st.floats(0, 1)),
)
IMAGES = st.lists(st.integers(0, 3), min_size=N_SEEDS, max_size=N_SEEDS)


@given(
    seeds=IMAGES,
    found=st.none() | st.lists(FOUND, min_size=N_SEEDS, max_size=N_SEEDS),
    signs=st.sampled_from([None, CONVINCING, UNCONVINCING]),
    kinship=st.none() | st.floats(-1, 1),
    source=st.sampled_from(get_args(Source)),
    part_confidence=st.none() | st.floats(0, 1),
)
def test_whatever_an_audit_judges_is_accepted(
    seeds: list[int],
    found: Any,
    signs: Any,
    kinship: float | None,
    source: Source,
    part_confidence: float | None,
) -> None:
    images = np.stack([Found([]).image(seed) for seed in seeds])
    images[:, :8] = images[0, :8] if seeds[0] == 0 else images[:, :8]  # a part that every seed repeats
    training = None if found is None else Found(found)
    outcome = judge(images, training, signs, kinship=kinship, source=source)  # type: ignore[arg-type]
    outcome = judge_part(outcome, part_confidence)
    row = attempt("p0", outcome.verdict) | recovery_row(outcome)
    check_outcomes(Path("recoveries.parquet"), attempts_table([row]), training is not None)


@given(st.lists(st.floats(1e-300, 1), min_size=1, max_size=40), st.floats(1e-6, 0.5))
def test_the_severities_of_an_audit_are_accepted(p_values: list[float], fpr: float) -> None:
    """Recovery changes a severity to high only; without it, p-value and q-value decide."""
    n, q = len(p_values), q_values(np.array(p_values), 0).tolist()
    flagged = [p <= fpr for p in p_values]
    columns = {"p_value": p_values, "q_value": q, "flagged": flagged, "severity": list(severities(flagged, q, {}))}
    rows = scores_table(["a"] * n).to_pylist()
    rows = [row | {name: values[i] for name, values in columns.items()} for i, row in enumerate(rows)]
    styles = (StyleCalibration(True, 400, n, 3.5, 0.1, 0.05),)
    calibration = replace(run_record().calibration, fpr=fpr, styles=styles)
    table = pa.Table.from_pylist(rows, schema=scores_schema(DETECTORS))
    check_scores(Path("scores.parquet"), table, calibration)


UNFOUNDED = {
    "confirmed by a copy that is none": (True, attempt("p0", "confirmed") | NEAR | {"similarity": 0.79}),
    "confirmed by a template": (True, attempt("p0", "confirmed") | NEAR | {"kind": "template"}),
    "confirmed by nothing": (True, attempt("p0", "confirmed") | FAR),
    "confirmed without enough confidence": (False, attempt("p0", "confirmed", confidence=0.89)),
    "confirmed without any confidence": (False, attempt("p0", "confirmed", confidence=None)),
    "likely without enough confidence": (False, attempt("p0", "likely", confidence=0.49)),
    "likely with more than enough": (False, attempt("p0", "likely", confidence=0.9)),
    "likely without any": (True, attempt("p0", "likely", confidence=None) | FAR),
    "a kind of nothing": (True, attempt("p0", "not_shown") | NEAR),
    "a kind without training images": (False, attempt("p0", "confirmed", kind="verbatim")),
    "a part without enough confidence": (False, attempt("p0", "likely", kind="template", confidence=0.95)),
    "confirmed by a part": (False, attempt("p0", "confirmed", kind="template", confidence=0.99)),
    "a part that is not shown": (False, attempt("p0", "not_shown", kind="template", confidence=0.99)),
    "an unknown kind": (True, attempt("p0", "likely") | NEAR | {"kind": "perfect"}),
    "a nearest image without training images": (False, attempt("p0", "not_shown") | FAR),
    "no nearest image of training images": (True, attempt("p0", "not_shown")),
    "a nearest image without a similarity": (True, attempt("p0", "not_shown") | FAR | {"similarity": None}),
    "a similarity above one": (True, attempt("p0", "confirmed") | NEAR | {"similarity": 1.1}),
    "a negative confidence": (False, attempt("p0", "not_shown", confidence=-0.1)),
    "an agreement of nan": (False, attempt("p0", "not_shown", seed_agreement=float("nan"))),
    "more than all is fixed": (False, attempt("p0", "not_shown", fixed_share=1.5)),
    "a cost below zero": (False, attempt("p0", "not_shown", evaluations=-1)),
    "a restart below zero": (False, attempt("p0", "not_shown", restart=-1)),
}


@pytest.mark.parametrize("name", UNFOUNDED)
def test_a_verdict_without_what_it_rests_on_is_refused(name: str) -> None:
    has_training_images, row = UNFOUNDED[name]
    with pytest.raises(RunIncompleteError, match=r"recoveries\.parquet: an attempt on 'p0' has "):
        check_outcomes(Path("recoveries.parquet"), attempts_table([row]), has_training_images)
