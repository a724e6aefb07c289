"""The result of a sweep: what the audit of each checkpoint found, and the first whose gate fails."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pydantic import JsonValue

from flashbulb.reports.bounds.rates import Rate, count_text, percent, rate_of
from flashbulb.reports.tables.files import SCHEMA_VERSION
from flashbulb.reports.tables.schema import required_column
from flashbulb.reports.tables.verdict import OUTCOMES, Outcome, exit_code_of

SWEEP_TABLE, SWEEP_FIGURE, SWEEP_PAGE = "sweep.parquet", "sweep.png", "sweep.html"
SWEEP_SUMMARY, SWEEP_DOCUMENT = "sweep.md", "sweep.json"
SWEEP_FILES = (SWEEP_TABLE, SWEEP_FIGURE, SWEEP_PAGE, SWEEP_SUMMARY, SWEEP_DOCUMENT)

SWEEP_SCHEMA = pa.schema(
    [
        required_column("checkpoint", pa.string()),
        required_column("kind", pa.string()),
        required_column("step", pa.int64()),
        required_column("model_fingerprint", pa.string()),
        required_column("n_prompts", pa.int64()),
        required_column("n_flagged", pa.int64()),
        required_column("flagged_share", pa.float64()),
        required_column("flagged_share_low", pa.float64()),
        required_column("flagged_share_high", pa.float64()),
        pa.field("median_excess", pa.float64()),
        pa.field("top_excess", pa.float64()),
        required_column("n_confirmed_images", pa.int64()),
        required_column("n_confirmed_prompts", pa.int64()),
        required_column("gate", pa.string()),
        required_column("reasons", pa.list_(pa.string())),
        required_column("run", pa.string()),
    ]
)


_DOUBTS: Mapping[Outcome, str] = {"untrusted": "cannot be trusted", "inconclusive": "are inconclusive"}


@dataclass(frozen=True, slots=True)
class SweepRow:
    """What the audit of one checkpoint found.

    Args:
        step: number in its name, or its place, as the sweep's unit says.
        median_excess, top_excess: how far median and 99th percentile of the spike scores lie above those of the
            reference, in spreads of the reference of their style; None without one.
        n_confirmed_prompts: flagged prompts from which a confirmed image was recovered.
        reasons: sentences that explain the gate's outcome.
        run: run directory, relative to that of the sweep.
    """

    checkpoint: str
    kind: str
    step: int
    model_fingerprint: str
    n_prompts: int
    n_flagged: int
    median_excess: float | None
    top_excess: float | None
    n_confirmed_images: int
    n_confirmed_prompts: int
    gate: Outcome
    reasons: tuple[str, ...]
    run: str

    @property
    def flagged(self) -> Rate:
        """The share of flagged prompts with its 95 % interval."""
        return rate_of(self.n_flagged, self.n_prompts)

    @property
    def flagged_share(self) -> float:
        """The share of flagged prompts; 0 without prompts."""
        return self.n_flagged / self.n_prompts if self.n_prompts else 0.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """Audits of the checkpoints of one training, in its order, with one plan.

    Args:
        unit: what `step` counts: step, epoch or place.
        fpr: stated false-positive rate of the flags.
        base: the model whose scores are subtracted; None if none was given.
        policy: limits of the gate.
        strict: an inconclusive sweep exits like an untrusted one.
    """

    unit: str
    rows: tuple[SweepRow, ...]
    fpr: float
    prompts: str
    reference: str | None
    base: str | None
    policy: Mapping[str, JsonValue]
    strict: bool

    @property
    def first_failing(self) -> SweepRow | None:
        """The first checkpoint whose gate fails; None if none does."""
        return next((row for row in self.rows if row.gate == "fail"), None)

    @property
    def outcome(self) -> Outcome:
        """The worst outcome; distrust outranks failure, as for one audit."""
        return max((row.gate for row in self.rows), key=OUTCOMES.index)

    @property
    def exit_code(self) -> int:
        """The exit code of the worst outcome."""
        return exit_code_of(self.outcome, strict=self.strict)

    def sentence(self) -> str:
        """Name the first checkpoint whose gate fails, and say how many audits cannot be trusted or are inconclusive."""
        first, gates = self.first_failing, Counter(row.gate for row in self.rows)
        doubt = "".join(
            f"; the audits of {count_text(gates[gate], 'checkpoint')} {what}"
            for gate, what in _DOUBTS.items()
            if gates[gate]
        )
        if first is None:
            return f"no checkpoint fails the gate{doubt}"
        place = self.rows.index(first) + 1
        return f"the first checkpoint that fails the gate is {first.checkpoint}, {place} of {len(self.rows)}{doubt}"

    def notes(self) -> tuple[str, ...]:
        """Say which checkpoints have the same weights, as a training that stood still or one file given twice."""
        names: dict[str, list[str]] = {}
        for row in self.rows:
            names.setdefault(row.model_fingerprint, []).append(row.checkpoint)
        return tuple(f"{' and '.join(same)} have the same weights" for same in names.values() if len(same) > 1)


def sweep_table(sweep: Sweep) -> pa.Table:
    """Build sweep.parquet: one row per checkpoint."""
    return pa.Table.from_pylist(row_documents(sweep.rows), schema=SWEEP_SCHEMA)


def row_documents(rows: Sequence[SweepRow]) -> list[dict[str, Any]]:
    """Return the rows as sweep.parquet and sweep.json hold them."""
    return [
        {
            **asdict(row),
            "flagged_share": row.flagged_share,
            "flagged_share_low": row.flagged.low,
            "flagged_share_high": row.flagged.high,
        }
        for row in rows
    ]


def sweep_document(sweep: Sweep) -> dict[str, Any]:
    """Return the content of sweep.json."""
    first = sweep.first_failing
    return {
        "schema_version": SCHEMA_VERSION,
        "outcome": sweep.outcome,
        "exit_code": sweep.exit_code,
        "first_failing": None if first is None else first.checkpoint,
        "sentence": sweep.sentence(),
        "unit": sweep.unit,
        "fpr": sweep.fpr,
        "prompts": sweep.prompts,
        "reference": sweep.reference,
        "base": sweep.base,
        "policy": dict(sweep.policy),
        "checkpoints": row_documents(sweep.rows),
    }


def share_text(row: SweepRow) -> str:
    """Format the flagged share with its interval: `3 (0.26 %, 0.09 % to 0.76 %)`."""
    rate = row.flagged
    return f"{row.n_flagged} ({percent(row.flagged_share)}, {percent(rate.low)} to {percent(rate.high)})"


def excess_text(value: float | None) -> str:
    """Format an excess: `+1.25`, or a dash where there is none."""
    return "–" if value is None else f"{value:+.2f}"
