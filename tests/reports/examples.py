"""Small results, records and tables that the tests of `reports` vary."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from reports.decide import Policy, Results, decide
from reports.run_record import Calibration, Counts, ModelIdentity, RunRecord, StyleCalibration, results_of
from reports.schema import RECOVERIES_SCHEMA, SPIKES_SCHEMA, scores_schema

DETECTORS = ("text_noise", "spikes_ff")


def results(**changes: Any) -> Results:
    """Results that pass, with changes."""
    passing: dict[str, Any] = {
        "status": "complete",
        "n_prompts": 100,
        "n_scored": 100,
        "n_flagged": 2,
        "n_high": 0,
        "n_confirmed_pictures": 0,
        "n_controls": 10,
        "n_false_recoveries": 0,
        "fpr": 0.01,
        "problems": (),
    }
    return Results(**(passing | changes))


def run_record(**changes: Any) -> RunRecord:
    """The record of a finished audit that leaks, with its verdict, with changes."""
    record: dict[str, Any] = {
        "schema_version": 1,
        "status": "complete",
        "model": ModelIdentity("models/toy", "sha256:0123"),
        "settings": {"fpr": 0.01, "seed": 0, "sites": ["ff"]},
        "inputs": {"prompts": {"path": "captions.csv", "sha256": "4567"}},
        "calibration": Calibration(
            0.01, 3.5, 400, "given", 0.55, 0.52, 0.65, False, (StyleCalibration(True, 400, 100, 3.5, 0.1, 0.05),)
        ),
        "counts": Counts(104, 2, 1, 100, 100, 0, 3, 2, 1, 10, 1),
        "evaluations": {"step": 800, "recover": 5000},
        "timings": {"screen": 1.5, "step": 20.25},
        "versions": {"engram": "0.1.0"},
        "tables": {},
        "warnings": (),
        "problems": (),
        "verdict": None,
    }
    run = RunRecord(**(record | changes))
    if "verdict" in changes:
        return run
    return RunRecord(**(record | changes | {"verdict": decide(results_of(run), Policy())}))


def scores_table(prompts: Sequence[str]) -> pa.Table:
    """One row a prompt, the first with the highest score; the first two are flagged."""
    n = len(prompts)
    columns = {
        "prompt_id": [f"p{index}" for index in range(n)],
        "prompt": list(prompts),
        "source_file": ["data/captions.csv"] * n,
        "source_row": list(range(n)),
        "n_duplicates": [1] * n,
        "tier": [1] * n,
        "text_noise": [None] * n,
        "spikes_ff": [float(n - index) for index in range(n)],
        "spike_score": [float(n - index) for index in range(n)],
        "p_value": [0.001] * n,
        "q_value": [0.01] * n,
        "flagged": [index < 2 for index in range(n)],
        "severity": ["high" if index < 2 else "none" for index in range(n)],
    }
    return pa.table(columns, schema=scores_schema(DETECTORS))


def recoveries_table(verdicts: Sequence[tuple[str, str]]) -> pa.Table:
    """One sampling recovery for each (prompt_id, verdict)."""
    rows = [
        {
            "finding_id": f"f-{prompt_id}",
            "prompt_id": prompt_id,
            "is_control": False,
            "strategy": "sampling",
            "restart": restart,
            "evaluations": 100,
            "seed_agreement": 0.9,
            "verdict": verdict,
        }
        for restart, (prompt_id, verdict) in enumerate(verdicts)
    ]
    return pa.Table.from_pylist(rows, schema=RECOVERIES_SCHEMA)


def spikes_table() -> pa.Table:
    """Two spiking neurons of one prompt."""
    row = {"prompt_id": "p0", "site": "ff.net.2", "token_class": "prompt", "activation": 4.5, "z": 9.0, "share": 0.01}
    return pa.Table.from_pylist([row | {"neuron": neuron} for neuron in (3, 7)], schema=SPIKES_SCHEMA)
