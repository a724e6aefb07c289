"""Collect the findings of an audit from its tables: flagged prompts, and images that came back without a prompt."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from flashbulb.reports.bounds.replication import Replication
from flashbulb.reports.checks.findings import IMAGE, NOT_TRIED, SPIKE, Finding, FoundImage, Nearest
from flashbulb.reports.tables.recoveries import best_rows
from flashbulb.reports.tables.rows import Rows, iter_column, take_rows
from flashbulb.reports.tables.schema import TableRow


def collect_findings(scores: Rows, recoveries: pa.Table, memories: pa.Table) -> tuple[Finding, ...]:
    """Return every flagged prompt and every image recovered without a prompt, worst first.

    Among equals, images that are known to come back more often come first, then prompts of higher spike score.
    """
    attempts = [row for row in recoveries.to_pylist() if not row["is_control"]]
    best, images = best_rows(attempts), _images_by_prompt(memories)
    positions = [position for position, is_flagged in enumerate(iter_column(scores, "flagged")) if is_flagged]
    by_image = {a["finding_id"]: a for a in attempts if a["prompt_id"] is None and a["verdict"] != "not_shown"}
    findings = [
        _prompt_finding(row, best.get(row["prompt_id"]), images[row["prompt_id"]])
        for row in take_rows(scores, positions)
    ]
    findings += [_image_finding(attempt) for attempt in by_image.values()]
    return tuple(sorted(findings, key=_worst_last, reverse=True))


def _worst_last(finding: Finding) -> tuple[tuple[int, int], float, float]:
    return finding.rank, finding.replication.low if finding.replication else 0.0, finding.spike_score or 0.0


def _images_by_prompt(memories: pa.Table) -> Mapping[str, tuple[FoundImage, ...]]:
    """Return the images of every flagged prompt, in the order of the table."""
    images: dict[str, tuple[FoundImage, ...]] = defaultdict(tuple)
    rows = [row for row in memories.to_pylist() if not row["is_control"]]
    n_prompts = Counter(row["finding_id"] for row in rows)
    for row in rows:
        replication = Replication(*(row[name] for name in ("p_hits", "p_samples", "p_low", "p_high")))
        finding_id = row["finding_id"]
        found = FoundImage(finding_id, row["verdict"], replication, _nearest(row), n_prompts[finding_id])
        images[row["prompt_id"]] += (found,)
    return images


def _nearest(row: TableRow) -> Nearest | None:
    """Return the training image nearest to the image of a row; None if none was compared."""
    path, similarity = row["nearest_image"], row["similarity"]
    return None if path is None or similarity is None else Nearest(path, similarity, row["kind"])


def _prompt_finding(row: TableRow, attempt: TableRow | None, images: tuple[FoundImage, ...]) -> Finding:
    """Build the finding of a flagged row of the scores from its best attempt, if any was made."""
    is_shown = attempt is not None and attempt["verdict"] != "not_shown"
    return Finding(
        kind=IMAGE if is_shown else SPIKE,
        subject=row["prompt_id"],
        **{name: row[name] for name in ("prompt_id", "prompt", "source_file", "source_row", "severity")},
        **{name: row[name] for name in ("spike_score", "p_value", "q_value")},
        **_recovery_fields(attempt),
        nearest=images[0].nearest if images else None,
        images=images,
    )


def _image_finding(attempt: dict[str, Any]) -> Finding:
    """Build the finding of an image that was recovered without a prompt."""
    nearest = attempt["nearest_image"]
    return Finding(
        kind=IMAGE,
        subject=PurePath(nearest).name if nearest else attempt["finding_id"],
        prompt_id=None,
        prompt=None,
        source_file=None,
        source_row=None,
        severity="high",
        spike_score=None,
        p_value=None,
        q_value=None,
        **_recovery_fields(attempt),
        nearest=_nearest(attempt),
        images=(),
    )


def _recovery_fields(attempt: TableRow | None) -> dict[str, Any]:
    """Return the fields of a finding that come from an attempt."""
    columns = {"strategy": "strategy", "image": "finding_id", "confidence": "confidence", "similarity": "similarity"}
    if attempt is None:
        return {"verdict": NOT_TRIED, **dict.fromkeys(columns)}
    return {"verdict": attempt["verdict"], **{name: attempt[column] for name, column in columns.items()}}
