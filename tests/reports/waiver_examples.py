"""Findings to waive, the day of the gate, and a file of waivers."""

from datetime import date
from pathlib import Path

from tests.reports.findings_examples import finding

TODAY = date(2026, 6, 15)
POOL = [
    finding(f"p{i}", "high" if shown else "low", shown or "not_shown") for i in range(8) for shown in ("likely", "")
]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "waivers.toml"
    path.write_text(text, encoding="utf-8")
    return path
