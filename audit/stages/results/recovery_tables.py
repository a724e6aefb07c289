"""Build the tables of recovery: attempts on prompts, and the distinct images that prompts give."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.memories import Memory
from flashbulb.audit.recover.outcome import Outcome
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.reports.bounds.replication import replication_of
from flashbulb.reports.tables.limits import TEMPLATE, VERBATIM
from flashbulb.reports.tables.schema import AGREEMENT, COPY, MEMORIES_SCHEMA, PART, RECOVERIES_SCHEMA, RECURRENCE


def finding_id(finding: int) -> str:
    """Return the id of a finding; findings are numbered from 0, ids from 1."""
    return f"finding-{finding + 1:03d}"


def recoveries_table(prompts: Sequence[Prompt], recovered: Sequence[Recovered]) -> pa.Table:
    """Build recoveries.parquet: one row for each attempt on a flagged or control prompt, in their order."""
    rows = [
        {
            **recovery_row(attempt.outcome),
            "finding_id": finding_id(result.finding) if attempt is result.best and result.finding is not None else None,
            "prompt_id": prompts[result.position].prompt_id,
            "is_control": result.is_control,
            "strategy": attempt.strategy,
            "restart": attempt.restart,
            "evaluations": attempt.evaluations,
            "image_path": attempt.image_path,
            "mask_path": attempt.mask_path,
            "fixed_share": attempt.fixed_share,
            "alike_seeds": attempt.alike_seeds,
            "alike_prompts": attempt.alike_prompts,
        }
        for result in recovered
        for attempt in result.attempts
    ]
    return pa.Table.from_pylist(rows, schema=RECOVERIES_SCHEMA)


def memories_table(prompts: Sequence[Prompt], recovered: Sequence[Recovered]) -> pa.Table:
    """Build memories.parquet: one row for each distinct image of each flagged or control prompt, in their order."""
    rows = [
        {
            **_memory_row(memory),
            "finding_id": None if memory.finding is None else finding_id(memory.finding),
            "prompt_id": prompts[result.position].prompt_id,
            "is_control": result.is_control,
        }
        for result in recovered
        for memory in result.memories
    ]
    return pa.Table.from_pylist(rows, schema=MEMORIES_SCHEMA)


def _memory_row(memory: Memory) -> dict[str, object]:
    shown = recovery_row(memory.outcome)
    replication = replication_of(memory.hits, memory.samples)
    return {
        **{name: shown[name] for name in ("verdict", "confidence", "nearest_image", "similarity", "kind")},
        "strategy": memory.strategy,
        "evidence": _evidence(memory.outcome),
        "p_hits": replication.hits,
        "p_samples": replication.samples,
        "p_low": replication.low,
        "p_high": replication.high,
        "image_path": memory.image_path,
    }


def _evidence(outcome: Outcome) -> str:
    by_kind = {VERBATIM: COPY, TEMPLATE: PART}
    return RECURRENCE if outcome.comes_back else by_kind.get(outcome.kind or "", AGREEMENT)


def recovery_row(outcome: Outcome) -> dict[str, object]:
    """Return the columns of recoveries.parquet that come from the outcome of an attempt."""
    nearest = outcome.nearest
    return {
        "seed_agreement": outcome.agreement,
        "verdict": outcome.verdict,
        "confidence": outcome.confidence,
        "nearest_image": None if nearest is None else nearest.name,
        "similarity": None if nearest is None else nearest.similarity,
        "kind": outcome.kind,
    }
