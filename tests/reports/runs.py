"""Finished audits on disk, written without a model, that the tests of the gate change and damage."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from flashbulb.reports.checks.run import CheckedRun, load_checked
from flashbulb.reports.power.sensitivity import audit_power
from flashbulb.reports.tables.files import MEMORIES_FILE, RECOVERIES_FILE, SCORES_FILE, TABLE_FILES, sha256_of
from flashbulb.reports.tables.recoveries import recovery_counts
from flashbulb.reports.tables.run_record import Counts, RunRecord, StyleCalibration
from flashbulb.reports.tables.schema import scores_schema, write_table
from tests.reports.evidence_examples import SITES, evidence_tables
from tests.reports.examples import DETECTORS, attempt, attempts_table, memories_of, run_record
from tests.reports.run_files import seal_again, write_record

N_PROMPTS = 20
SECRET = "Ann Secret of Vellin"  # occurs in every prompt, and in no output that hides prompts
HOSTILE = "\x1b[31m<b>|`]]>\u202e&\x00\ud7ff\ufffe 🦊 <script>alert(1)</script> ![x](http://evil.example/x.png) @all"
ENOUGH = tuple(f"portrait {index} of {SECRET}" for index in range(400))
"""Prompts that are enough to exclude that 1 % of such prompts are extractable."""
PROMPTS = ENOUGH[:N_PROMPTS]
"""Too few: an audit of them is inconclusive."""
LEAKS = {0: "high", 1: "high", 2: "medium", 3: "low"}


def write_example(
    directory: Path,
    severities: Mapping[int, str] | None = None,
    *,
    prompts: Sequence[str] = ENOUGH,
    likely: frozenset[int] = frozenset(),
    n_false: int = 0,
    source_file: str = "data/captions.csv",
    sites: Sequence[tuple[str, str]] = SITES,
    **changes: Any,
) -> Path:
    """Write an audit whose prompts have `severities` by index; it passes if none is high and there are enough prompts.

    Args:
        sites: kind and name of every site.
        likely: prompts of high severity whose verdict is likely; it is confirmed for the others.
        n_false: how many of the 8 controls gave an image.
        changes: entries of run.json.
    """
    severities = {5: "low"} if severities is None else severities
    recoveries = _recoveries(len(prompts), severities, likely, n_false)
    scores = _scores(prompts, severities, set(recoveries["prompt_id"].to_pylist()), source_file)
    memories = memories_of(recoveries)
    n, counted = len(prompts), recovery_counts(recoveries, memories)
    counts = Counts(
        n_rows=n,
        n_empty=0,
        n_truncated=0,
        n_prompts=n,
        n_scored=n,
        n_left_out=0,
        n_flagged=len(severities),
        n_high=list(severities.values()).count("high"),
        n_confirmed_pictures=counted.n_confirmed_pictures,
        n_recovered=counted.n_recovered,
        n_controls=counted.n_controls,
        n_false_recoveries=counted.n_false_recoveries,
        recovered_by=counted.recovered_by,
    )
    calibration = replace(run_record().calibration, styles=(StyleCalibration(True, 400, n, 3.5, 0.1, 0.05),))
    if not severities:
        calibration = replace(calibration, style_auc=None)
    record = run_record(**({"counts": counts, "calibration": calibration} | changes))
    record = replace(record, power=audit_power(record, scores, recoveries))
    tables = {SCORES_FILE: scores, RECOVERIES_FILE: recoveries, MEMORIES_FILE: memories}
    tables |= evidence_tables(record, scores, recoveries, sites)
    return write_run(directory, record, tables)


def write_run(directory: Path, record: RunRecord, tables: Mapping[str, pa.Table]) -> Path:
    """Write the tables of an audit, by the names of their files, and a record with their hashes."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_table(directory / name, table, table.schema, {"model_fingerprint": record.model.fingerprint})
    hashes = {name: sha256_of(directory / name) for name in TABLE_FILES}
    write_record(directory, replace(record, tables={**hashes, **record.tables}))
    seal_again(directory)
    return directory


def checked_example(directory: Path, *args: Any, **changes: Any) -> CheckedRun:
    """Write an audit with `write_example` and read it back."""
    return load_checked(write_example(directory, *args, **changes))


def _scores(prompts: Sequence[str], severities: Mapping[int, str], tried: set[str], source_file: str) -> pa.Table:
    columns = {
        "prompt_id": [f"p{index}" for index in range(len(prompts))],
        "prompt": list(prompts),
        "source_file": [source_file] * len(prompts),
        "source_row": list(range(2, len(prompts) + 2)),
        "n_duplicates": [1] * len(prompts),
        "tier": [3 if f"p{index}" in tried else 1 for index in range(len(prompts))],
        "text_noise": [None] * len(prompts),
        "spikes_ff": [1.0] * len(prompts),
        "style": [0] * len(prompts),
        "spike_score": [2.0 - index / 100 for index in range(len(prompts))],
        "p_value": [0.001 if index in severities else 0.5 for index in range(len(prompts))],
        "q_value": [{"none": 0.9, "low": 0.2}.get(severities.get(i, "none"), 0.01) for i in range(len(prompts))],
        "flagged": [index in severities for index in range(len(prompts))],
        "severity": [severities.get(index, "none") for index in range(len(prompts))],
    }
    return pa.table(columns, schema=scores_schema(DETECTORS))


def _recoveries(n: int, severities: Mapping[int, str], likely: frozenset[int], n_false: int) -> pa.Table:
    rows = []
    for index, severity in severities.items():
        if severity != "high":
            rows.append(attempt(f"p{index}", "not_shown"))
        elif index in likely:
            rows.append(attempt(f"p{index}", "likely"))
        else:
            rows += [attempt(f"p{index}", "likely", finding_id=None), attempt(f"p{index}", "confirmed", "ascend")]
    controls = [index for index in range(n) if index not in severities][:8]
    for position, index in enumerate(controls):
        verdict = "likely" if position < n_false else "not_shown"
        rows.append(attempt(f"p{index}", verdict, is_control=True, finding_id=None))
    return attempts_table(rows)
