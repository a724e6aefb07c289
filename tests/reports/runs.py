"""Finished audits on disk, written without a model, that the tests of the gate change and damage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from flashbulb.reports.gate.check import CheckedRun, load_checked
from flashbulb.reports.tables.files import RECOVERIES_FILE, SCORES_FILE, TABLE_FILES, sha256_of
from flashbulb.reports.tables.recoveries import recovery_counts
from flashbulb.reports.tables.run_record import Counts
from flashbulb.reports.tables.schema import RECOVERIES_SCHEMA, scores_schema, write_table
from tests.reports.examples import DETECTORS, attempt, attempts_table, run_record, write_other_tables
from tests.reports.run_files import write_record

N_PROMPTS = 20
SECRET = "Ann Secret of Vellin"  # occurs in every prompt, and in no output that hides prompts
HOSTILE = "\x1b[31m<b>|`]]>\u202e&\x00\ud7ff\ufffe 🦊 <script>alert(1)</script> ![x](http://evil.example/x.png) @all"
PROMPTS = tuple(f"portrait {index} of {SECRET}" for index in range(N_PROMPTS))
LEAKS = {0: "high", 1: "high", 2: "medium", 3: "low"}


def write_example(
    directory: Path,
    severities: Mapping[int, str] | None = None,
    *,
    prompts: Sequence[str] = PROMPTS,
    likely: frozenset[int] = frozenset(),
    n_false: int = 0,
    source_file: str = "data/captions.csv",
    **changes: Any,
) -> Path:
    """Write an audit whose prompts have `severities` by index; it passes if none is high.

    Args:
        likely: prompts of high severity whose verdict is likely; it is confirmed for the others.
        n_false: how many of the 8 controls gave an image.
        changes: entries of run.json.
    """
    severities = {5: "low"} if severities is None else severities
    directory.mkdir(parents=True, exist_ok=True)
    scores = _scores(prompts, severities, source_file)
    recoveries = _recoveries(len(prompts), severities, likely, n_false)
    write_table(directory / SCORES_FILE, scores, scores_schema(DETECTORS), {})
    write_table(directory / RECOVERIES_FILE, recoveries, RECOVERIES_SCHEMA, {})
    write_other_tables(directory)
    tables = {name: sha256_of(directory / name) for name in TABLE_FILES}
    n, counted = len(prompts), recovery_counts(recoveries)
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
    write_record(directory, run_record(**({"counts": counts, "tables": tables} | changes)))
    return directory


def checked_example(directory: Path, *args: Any, **changes: Any) -> CheckedRun:
    """Write an audit with `write_example` and read it back."""
    return load_checked(write_example(directory, *args, **changes))


def _scores(prompts: Sequence[str], severities: Mapping[int, str], source_file: str) -> pa.Table:
    columns = {
        "prompt_id": [f"p{index}" for index in range(len(prompts))],
        "prompt": list(prompts),
        "source_file": [source_file] * len(prompts),
        "source_row": list(range(2, len(prompts) + 2)),
        "n_duplicates": [1] * len(prompts),
        "tier": [3 if index in severities else 1 for index in range(len(prompts))],
        "text_noise": [None] * len(prompts),
        "spikes_ff": [1.0] * len(prompts),
        "style": [0] * len(prompts),
        "spike_score": [2.0 - index / 100 for index in range(len(prompts))],
        "p_value": [0.001 if index in severities else 0.5 for index in range(len(prompts))],
        "q_value": [0.01] * len(prompts),
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
