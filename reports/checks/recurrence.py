"""Find the prompts whose images come back often enough, against those of controls, to be likely memories."""

from collections.abc import Sequence

import pyarrow as pa

from flashbulb.reports.bounds.recurrence import Recurring
from flashbulb.reports.tables.schema import TableRow

_COUNTS = ("alike_seeds", "alike_prompts")


def returning_prompts(recoveries: pa.Table) -> frozenset[str]:
    """Return the ids of the prompts whose images come back, where the counts of all prompts make that evidence."""
    counted = recoveries.select((*_COUNTS, "prompt_id", "is_control")).to_pylist()
    rows = [row for row in counted if row[_COUNTS[0]] is not None and row["prompt_id"] is not None]
    evident = [name for name in _COUNTS if recurring(rows, name).is_evidence]
    return frozenset(row["prompt_id"] for row in rows if any(row[name] for name in evident))


def recurring(rows: Sequence[TableRow], name: str) -> Recurring:
    """Count the flagged prompts and the controls whose images come back, by the column `name`."""
    flagged, controls = ([bool(row[name]) for row in rows if row["is_control"] is part] for part in (False, True))
    return Recurring(sum(flagged), len(flagged), sum(controls), len(controls))


def fault_of_counts(row: TableRow) -> str | None:
    """Return what is wrong with how often images of an attempt come back; None if nothing is."""
    counts = [row[name] for name in _COUNTS]
    if (None in counts) != (counts == [None, None]) or any(count is not None and count < 0 for count in counts):
        return f"alike_seeds {counts[0]} and alike_prompts {counts[1]}"
    return None
