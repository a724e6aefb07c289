"""`findings.jsonl` and `findings.parquet`: one row a finding, with what it does to the verdict."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow.json import ParseOptions, ReadOptions, read_json

from reports.files import RunFileError, write_text
from reports.findings import Finding
from reports.gate import GateReport, JudgedFinding
from reports.schema import write_table

FINDINGS_SCHEMA = pa.schema(
    [
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("standing", pa.string(), nullable=False),
        pa.field("change", pa.string()),
        pa.field("prompt_id", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("source_file", pa.string()),
        pa.field("source_row", pa.int64()),
        pa.field("severity", pa.string(), nullable=False),
        pa.field("spike_score", pa.float64()),
        pa.field("p_value", pa.float64()),
        pa.field("q_value", pa.float64()),
        pa.field("recovery", pa.string(), nullable=False),
        pa.field("strategy", pa.string()),
        pa.field("finding_id", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("similarity", pa.float64()),
        pa.field("waived_by", pa.string()),
        pa.field("waived_for", pa.string()),
        pa.field("waived_until", pa.string()),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("exit_code", pa.int8(), nullable=False),
    ]
)
_SAME_NAME = (
    *("fingerprint", "kind", "prompt_id", "source_file", "source_row", "severity"),
    *("spike_score", "p_value", "q_value", "strategy", "confidence", "similarity"),
)


def finding_rows(report: GateReport, show_prompts: bool) -> list[dict[str, object]]:
    """A row for each of the report's findings; prompts only if `show_prompts`."""
    rows = (_row(judged, report, show_prompts) for judged in report.listed)
    return [{name: row[name] for name in FINDINGS_SCHEMA.names} for row in rows]


def write_findings(path: Path, report: GateReport, show_prompts: bool) -> None:
    """Write `.jsonl` or `.parquet`, by the name of `path`, whole or not at all.

    Of a run that could not be read no findings are known. An empty file would look like a clean run, so there is none,
    nor is one left of before.
    """
    check_findings_name(path)
    if report.results is None:
        path.unlink(missing_ok=True)
        return
    lines = _json_lines(finding_rows(report, show_prompts))
    if path.suffix == ".parquet":
        footer = {"outcome": report.verdict.outcome, "exit_code": str(report.verdict.exit_code)}
        write_table(path, _table(lines), FINDINGS_SCHEMA, footer)
    else:
        write_text(path, lines)


def _json_lines(rows: Sequence[dict[str, object]]) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n" for row in rows)


def _table(lines: str) -> pa.Table:
    """The lines as Arrow reads them: to build a table from Python values would import pandas, half a second."""
    content = lines.encode()
    if not content:
        return FINDINGS_SCHEMA.empty_table()
    whole = ReadOptions(use_threads=False, block_size=len(content))
    return read_json(io.BytesIO(content), whole, ParseOptions(explicit_schema=FINDINGS_SCHEMA))


def check_findings_name(path: Path) -> None:
    """Refuse a name that does not say which format it is."""
    if path.suffix not in (".jsonl", ".parquet"):
        raise RunFileError(f"{path} should end in .jsonl or .parquet, which says what to write; got {path.suffix!r}")


def finding_columns(finding: Finding, show_prompts: bool) -> dict[str, object]:
    """What is known of a finding whatever the judgement, by column."""
    return {
        **{name: getattr(finding, name) for name in _SAME_NAME},
        "prompt": finding.prompt if show_prompts else None,
        "recovery": finding.verdict,
        "finding_id": finding.picture,
    }


def _row(judged: JudgedFinding, report: GateReport, show_prompts: bool) -> dict[str, object]:
    waiver = judged.waiver
    return {
        **finding_columns(judged.finding, show_prompts),
        "standing": judged.standing,
        "change": judged.change,
        "waived_by": waiver.owner if waiver else None,
        "waived_for": waiver.reason if waiver else None,
        "waived_until": waiver.expires.isoformat() if waiver else None,
        "outcome": report.verdict.outcome,
        "exit_code": report.verdict.exit_code,
    }
