"""`findings.jsonl`, `.parquet` and `.csv`: one row per finding, with its standing in the verdict."""

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow.json import ParseOptions, ReadOptions, read_json

from flashbulb.reports.bounds.replication import Replication
from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.gate.judgement import GateReport, JudgedFinding
from flashbulb.reports.tables.files import RunFileError, write_text
from flashbulb.reports.tables.schema import required_column, write_table
from flashbulb.reports.views.text import csv_text, is_formula, json_text, visible_text

FINDINGS_SCHEMA = pa.schema(
    [
        required_column("fingerprint", pa.string()),
        required_column("kind", pa.string()),
        required_column("standing", pa.string()),
        pa.field("change", pa.string()),
        pa.field("prompt_id", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("source_file", pa.string()),
        pa.field("source_row", pa.int64()),
        required_column("severity", pa.string()),
        pa.field("spike_score", pa.float64()),
        pa.field("p_value", pa.float64()),
        pa.field("q_value", pa.float64()),
        required_column("recovery", pa.string()),
        pa.field("strategy", pa.string()),
        pa.field("finding_id", pa.string()),
        required_column("finding_ids", pa.list_(pa.string())),
        pa.field("p_hits", pa.int32()),
        pa.field("p_samples", pa.int32()),
        pa.field("p_low", pa.float64()),
        pa.field("p_high", pa.float64()),
        pa.field("confidence", pa.float64()),
        pa.field("similarity", pa.float64()),
        pa.field("nearest_image", pa.string()),
        pa.field("copy", pa.string()),
        required_column("n_image_prompts", pa.int32()),
        pa.field("waived_by", pa.string()),
        pa.field("waived_for", pa.string()),
        pa.field("waived_until", pa.string()),
        required_column("outcome", pa.string()),
        required_column("exit_code", pa.int8()),
    ]
)
_LONGEST_CELL = 2000  # characters in CSV; a spreadsheet takes 32,767
_SHARED_NAMES = (
    *("fingerprint", "kind", "prompt_id", "source_file", "source_row", "severity"),
    *("spike_score", "p_value", "q_value", "strategy", "confidence", "similarity"),
)
"""Columns that are fields of `Finding`."""


def finding_rows(report: GateReport, show_prompts: bool) -> list[dict[str, object]]:
    """Return a row for each of the report's findings, with the text of prompts only if `show_prompts`."""
    rows = (_row(judged, report, show_prompts) for judged in report.listed)
    return [{name: row[name] for name in FINDINGS_SCHEMA.names} for row in rows]


def write_findings(path: Path, report: GateReport, show_prompts: bool) -> None:
    """Write `.jsonl`, `.parquet` or `.csv`, by the name of `path`, completely or not at all.

    If the run could not be read, its findings are unknown. An empty file would look like a clean run, so none is
    written, and an older one is deleted.
    """
    check_findings_name(path)
    if report.results is None:
        path.unlink(missing_ok=True)
        return
    rows = finding_rows(report, show_prompts)
    lines = _json_lines(rows)
    if path.suffix == ".csv":
        write_text(path, csv_text(FINDINGS_SCHEMA.names, ([_cell(value) for value in row.values()] for row in rows)))
    elif path.suffix == ".parquet":
        footer = {"outcome": report.verdict.outcome, "exit_code": str(report.verdict.exit_code)}
        write_table(path, _table(lines), FINDINGS_SCHEMA, footer)
    else:
        write_text(path, lines)


def _json_lines(rows: Sequence[dict[str, object]]) -> str:
    return "".join(f"{json_text(row)}\n" for row in rows)


def _cell(value: object) -> object:
    """Return a list as words, and text with its controls visible and no formula for a spreadsheet to run."""
    text = " ".join(map(str, value)) if isinstance(value, list) else value
    if not isinstance(text, str):
        return text
    shown = visible_text(text, _LONGEST_CELL)
    return f"'{shown}" if is_formula(shown) else shown


def _table(lines: str) -> pa.Table:
    """Parse the lines with Arrow. To build the table from Python values would import pandas, which takes 0.5 s."""
    content = lines.encode()
    if not content:
        return FINDINGS_SCHEMA.empty_table()
    one_block = ReadOptions(use_threads=False, block_size=len(content))
    return read_json(io.BytesIO(content), one_block, ParseOptions(explicit_schema=FINDINGS_SCHEMA))


def check_findings_name(path: Path) -> None:
    """Refuse a file name that ends in the suffix of no format.

    Raises:
        RunFileError: naming the suffix.
    """
    if path.suffix not in (".jsonl", ".parquet", ".csv"):
        raise RunFileError(
            f"{path} should end in .jsonl, .parquet or .csv, which selects the format; got {path.suffix!r}"
        )


def finding_columns(finding: Finding, show_prompts: bool) -> dict[str, object]:
    """Return the columns of a finding that do not depend on a judgement."""
    return {
        **{name: getattr(finding, name) for name in _SHARED_NAMES},
        "prompt": finding.prompt if show_prompts else None,
        "recovery": finding.verdict,
        "finding_id": finding.image,
        "finding_ids": [image.finding_id for image in finding.images] or ([finding.image] if finding.image else []),
        "nearest_image": finding.nearest.name if finding.nearest else None,
        "copy": finding.nearest.kind if finding.nearest else None,
        "n_image_prompts": finding.n_prompts,
        **_replication_columns(finding.replication),
    }


def _replication_columns(replication: Replication | None) -> dict[str, object]:
    columns = {"p_hits": "hits", "p_samples": "samples", "p_low": "low", "p_high": "high"}
    return {column: None if replication is None else getattr(replication, name) for column, name in columns.items()}


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
