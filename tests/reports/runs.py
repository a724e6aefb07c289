"""Finished audits on disk, made without a model, that the tests of the gate vary and spoil."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from reports.check import CheckedRun, load_checked
from reports.files import RECOVERIES_FILE, SCORES_FILE, TABLE_FILES, sha256_of
from reports.recoveries import recovery_counts
from reports.run_record import Counts, write_run
from reports.schema import RECOVERIES_SCHEMA, scores_schema, write_table
from tests.reports.examples import DETECTORS, run_record, rung, rungs_table, write_other_tables

N_PROMPTS = 20
SECRET = "Ann Secret of Vellin"  # stands in every prompt, and in no output that hides prompts
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
    """Write an audit in which prompts have `severities` by index; it passes without any of high severity.

    Args:
        likely: prompts of high severity whose picture is likely; the others' are confirmed.
        n_false: controls, of 8, that gave a picture.
        changes: entries of run.json.
    """
    severities = {5: "low"} if severities is None else severities
    directory.mkdir(parents=True, exist_ok=True)
    scores, recoveries = (
        _scores(prompts, severities, source_file),
        _recoveries(len(prompts), severities, likely, n_false),
    )
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
    write_run(directory, run_record(**({"counts": counts, "tables": tables} | changes)))
    return directory


def checked_example(directory: Path, *args: Any, **changes: Any) -> CheckedRun:
    """The audit that `write_example` writes, read back."""
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
        "p_value": [0.001] * len(prompts),
        "q_value": [0.01] * len(prompts),
        "flagged": [index in severities for index in range(len(prompts))],
        "severity": [severities.get(index, "none") for index in range(len(prompts))],
    }
    return pa.table(columns, schema=scores_schema(DETECTORS))


def _recoveries(n: int, severities: Mapping[int, str], likely: frozenset[int], n_false: int) -> pa.Table:
    rows = []
    for index, severity in severities.items():
        if severity != "high":
            rows.append(rung(f"p{index}", "not_shown"))
        elif index in likely:
            rows.append(rung(f"p{index}", "likely"))
        else:
            rows += [rung(f"p{index}", "likely", finding_id=None), rung(f"p{index}", "confirmed", "ascend")]
    controls = [index for index in range(n) if index not in severities][:8]
    for position, index in enumerate(controls):
        verdict = "likely" if position < n_false else "not_shown"
        rows.append(rung(f"p{index}", verdict, is_control=True, finding_id=None))
    return rungs_table(rows)
