"""findings.jsonl and findings.parquet open in pandas, polars and DuckDB, with the same content."""

from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from flashbulb.reports.gate.findings_file import FINDINGS_SCHEMA, write_findings
from flashbulb.reports.tables.files import RunFileError
from tests.cases import each_with_one
from tests.reports.reports_examples import REPORTS, against_baseline, failing, hostile, judged, unreadable, waived
from tests.reports.run_files import read_metadata
from tests.reports.runs import LEAKS, PROMPTS, SECRET, checked_example

READERS = {
    "pandas jsonl": (".jsonl", lambda path: pd.read_json(path, lines=True).to_dict("list")),
    "polars jsonl": (".jsonl", lambda path: pl.read_ndjson(path).to_dict(as_series=False)),
    "duckdb jsonl": (".jsonl", lambda path: duckdb.sql(f"from read_json('{path}')").pl().to_dict(as_series=False)),
    "pandas parquet": (".parquet", lambda path: pd.read_parquet(path).to_dict("list")),
    "polars parquet": (".parquet", lambda path: pl.read_parquet(path).to_dict(as_series=False)),
    "pandas csv": (".csv", lambda path: pd.read_csv(path).to_dict("list")),
    "polars csv": (".csv", lambda path: pl.read_csv(path).to_dict(as_series=False)),
    "duckdb parquet": (".parquet", lambda path: duckdb.sql(f"from '{path}'").pl().to_dict(as_series=False)),
}


@pytest.mark.parametrize(("name", "reader"), each_with_one([name for name in REPORTS if name != "unreadable"], READERS))
def test_other_libraries_read_every_finding(tmp_path: Path, reader: str, name: str) -> None:
    report = REPORTS[name](tmp_path / "run")
    suffix, read = READERS[reader]
    path = tmp_path / f"findings{suffix}"
    write_findings(path, report, False)
    columns = read(path)
    assert list(columns) == FINDINGS_SCHEMA.names
    fingerprints = [judged.finding.fingerprint for judged in report.judged]
    fingerprints += [finding.fingerprint for finding in report.fixed]
    assert list(columns["fingerprint"]) == fingerprints
    assert columns["standing"][: len(report.judged)] == [judged.standing for judged in report.judged]
    assert set(columns["outcome"]) == {report.verdict.outcome}
    assert set(columns["exit_code"]) == {report.verdict.exit_code}


def test_no_cell_of_the_csv_is_a_formula_or_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "findings.csv"
    report = judged(checked_example(tmp_path / "run", LEAKS, prompts=["=1+1\n-2", *PROMPTS[1:]]))
    write_findings(path, report, True)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(report.judged)
    assert "'=1+1↵-2" in lines[1]


def test_the_parquet_footer_states_the_verdict(tmp_path: Path) -> None:
    write_findings(tmp_path / "findings.parquet", failing(tmp_path / "run"), False)
    assert read_metadata(tmp_path / "findings.parquet") == {"outcome": "fail", "exit_code": "1"}


def test_waivers_and_changes_are_columns(tmp_path: Path) -> None:
    write_findings(tmp_path / "a.parquet", waived(tmp_path / "waived"), False)
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["waived_by"] for row in rows] == ["ana", "ana", None, None]
    assert rows[0]["waived_until"] == "2026-06-15"
    write_findings(tmp_path / "b.parquet", against_baseline(tmp_path / "baseline"), False)
    changes = pq.read_table(tmp_path / "b.parquet")["change"].to_pylist()
    assert changes == ["unchanged", "worse", "new", "new", "fixed"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_unreadable_run_leaves_no_file_of_findings(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"findings{suffix}"
    path.write_text("of an earlier gate")
    write_findings(path, unreadable(tmp_path), False)
    assert not path.exists()


@pytest.mark.parametrize("show_prompts", [False, True])
def test_prompts_are_hidden_unless_requested(tmp_path: Path, show_prompts: bool) -> None:
    path = tmp_path / "findings.jsonl"
    write_findings(path, hostile(tmp_path / "run"), show_prompts)
    assert (SECRET in path.read_text(encoding="utf-8")) is show_prompts
    assert len(pl.read_ndjson(path)) == 4


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"should end in \.jsonl, \.parquet or \.csv"):
        write_findings(tmp_path / "findings.xlsx", failing(tmp_path / "run"), False)
