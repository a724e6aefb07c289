"""Small results, records and tables that the tests of `reports` start from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.bounds.replication import replication_of
from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.tables.files import RECOVERIES_FILE, SCHEMA_VERSION, SCORES_FILE, SPIKES_FILE
from flashbulb.reports.tables.recoveries import best_rows
from flashbulb.reports.tables.run_record import (
    Calibration,
    Counts,
    ModelIdentity,
    RunRecord,
    StyleCalibration,
    results_of,
)
from flashbulb.reports.tables.run_tables import AUDIT_SCHEMAS, AuditTables
from flashbulb.reports.tables.schema import (
    MEMORIES_SCHEMA,
    RECOVERIES_SCHEMA,
    SPIKES_SCHEMA,
    scores_schema,
    write_table,
)
from flashbulb.reports.tables.verdict import Results
from flashbulb.reports.views.discovery import DiscoveryRecord, Finding

DETECTORS = ("text_noise", "spikes_ff")


def results(**changes: Any) -> Results:
    """Results that pass, with `changes`."""
    passing: dict[str, Any] = {
        "status": "complete",
        "n_prompts": 100,
        "n_scored": 100,
        "n_flagged": 2,
        "n_high": 0,
        "n_confirmed_pictures": 0,
        "n_recovered": 0,
        "n_controls": 10,
        "n_false_recoveries": 0,
        "fpr": 0.01,
        "problems": (),
        "sensitivity": 0.9,
    }
    return Results(**(passing | changes))


def run_record(**changes: Any) -> RunRecord:
    """The record of a finished audit that leaks, with its verdict and `changes`."""
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "status": "complete",
        "model": ModelIdentity("models/toy", "sha256:0123"),
        "settings": {"fpr": 0.01, "seed": 0, "sites": ["ff"], "n_samples": 4},
        "inputs": {
            "prompts": {"path": "captions.csv", "sha256": "4567"},
            "reference": {"path": "clean.txt", "sha256": "89ab"},
        },
        "calibration": Calibration(
            0.01, 3.5, 400, "given", 0.55, 0.52, 0.65, False, (StyleCalibration(True, 400, 100, 3.5, 0.1, 0.05),)
        ),
        "counts": Counts(104, 2, 1, 100, 100, 0, 3, 2, 1, 2, 10, 1, {"sample": 1, "ascend": 1}),
        "evaluations": {"step": 800, "recover": 5000},
        "timings": {"screen": 1.5, "step": 20.25},
        "versions": {"flashbulb": "0.1.0"},
        "tables": {},
        "warnings": (),
        "problems": (),
        "verdict": None,
    }
    record |= changes
    counts = record["counts"]
    record.setdefault("false_recovery", rate_of(counts.n_false_recoveries, counts.n_controls))
    run = RunRecord(**record)
    return run if "verdict" in changes else replace(run, verdict=decide(results_of(run), Policy()))


def scores_table(prompts: Sequence[str]) -> pa.Table:
    """One row per prompt, in descending order of the score; the first two are flagged."""
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
        "style": [0] * n,
        "spike_score": [float(n - index) for index in range(n)],
        "p_value": [0.001] * n,
        "q_value": [0.01] * n,
        "flagged": [index < 2 for index in range(n)],
        "severity": ["high" if index < 2 else "none" for index in range(n)],
    }
    return pa.table(columns, schema=scores_schema(DETECTORS))


def attempt(prompt_id: str | None, verdict: str, strategy: str = "sample", **changes: Any) -> dict[str, Any]:
    """One row of recoveries.parquet, by default of a flagged prompt, with a finding if it shows an image."""
    row = {
        "finding_id": None if verdict == "not_shown" else f"f-{prompt_id}",
        "prompt_id": prompt_id,
        "is_control": False,
        "strategy": strategy,
        "restart": 0,
        "evaluations": 100,
        "seed_agreement": 0.9,
        "verdict": verdict,
        "confidence": {"confirmed": 0.95, "likely": 0.7}.get(verdict),
    }
    return row | changes


def attempts_table(attempts: Sequence[dict[str, Any]]) -> pa.Table:
    """The table recoveries.parquet with rows from `attempt`."""
    return pa.Table.from_pylist(list(attempts), schema=RECOVERIES_SCHEMA)


def memory(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The row of memories.parquet for an attempt that shows an image: all of 4 plain samples show it."""
    names = ("finding_id", "prompt_id", "is_control", "strategy", "verdict", "confidence", "image_path")
    nearest = {name: row.get(name) for name in ("nearest_image", "similarity", "kind")}
    often = replication_of(4, 4)
    counted = {"p_hits": often.hits, "p_samples": often.samples, "p_low": often.low, "p_high": often.high}
    evidence = {"verbatim": "copy", "template": "part"}.get(nearest["kind"] or "", "agreement")
    return {name: row.get(name) for name in names} | nearest | counted | {"evidence": evidence} | changes


def memories_table(memories: Sequence[dict[str, Any]]) -> pa.Table:
    """The table memories.parquet with rows from `memory`."""
    return pa.Table.from_pylist(list(memories), schema=MEMORIES_SCHEMA)


def memories_of(recoveries: pa.Table) -> pa.Table:
    """The table memories.parquet that belongs to a table of recoveries: one image of each prompt that gave any."""
    rows = best_rows(recoveries.to_pylist()).values()
    return memories_table([memory(dict(row)) for row in rows if row["verdict"] != "not_shown"])


def recoveries_table(verdicts: Sequence[tuple[str, str]]) -> pa.Table:
    """The table recoveries.parquet with one sampled attempt for each (prompt_id, verdict)."""
    return attempts_table([attempt(prompt_id, verdict) for prompt_id, verdict in verdicts])


def discovery_record(**changes: Any) -> DiscoveryRecord:
    """The record of a finished discovery of two images, with `changes`."""
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "status": "discovery",
        "model": ModelIdentity("models/toy", "sha256:0123"),
        "settings": {"seed": 0, "n_starts": 48},
        "inputs": {},
        "budget": 50_000,
        "evaluations": {"baseline": 400, "climb": 30_000, "verify": 2_000},
        "n_rounds": 9,
        "n_starts": 432,
        "n_confirmed": 1,
        "n_likely": 1,
        "findings": (
            Finding("finding-001", "confirmed", 0.98, 4_000, "data/fox.png"),
            Finding("finding-002", "likely", None, 21_000, None),
        ),
        "stopped_because": "nothing_new",
        "timings": {"search": 12.5},
        "versions": {"flashbulb": "0.1.0"},
        "tables": {"recoveries.parquet": "89ab"},
        "warnings": (),
    }
    return DiscoveryRecord(**(record | changes))


def write_other_tables(directory: Path) -> None:
    """Write every table of a run but scores and recoveries; all are empty except the spikes."""
    for name, schema in AUDIT_SCHEMAS.items():
        if name not in (SCORES_FILE, RECOVERIES_FILE):
            write_table(directory / name, spikes_table() if name == SPIKES_FILE else schema.empty_table(), schema, {})


def empty_tables() -> AuditTables:
    """Every table of an audit, without rows."""
    return AuditTables(**{name.partition(".")[0]: schema.empty_table() for name, schema in AUDIT_SCHEMAS.items()})


def spikes_table() -> pa.Table:
    """Two spiking neurons of one prompt."""
    row = {"prompt_id": "p0", "site": "ff.net.2", "token_class": "prompt", "activation": 4.5, "z": 9.0, "share": 0.01}
    return pa.Table.from_pylist([row | {"neuron": neuron} for neuron in (3, 7)], schema=SPIKES_SCHEMA)
