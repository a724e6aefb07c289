"""Example runs by verdict, the fingerprints of their findings, waivers for them, and the day on which they are read."""

from datetime import date
from pathlib import Path

from flashbulb.reports.checks.collection import collect_findings
from tests.reports.runs import LEAKS, PROMPTS

TODAY = date(2026, 6, 15)
RUNS = {
    "pass": ({"severities": {5: "low"}}, 0),
    "inconclusive": ({"severities": {5: "low"}, "prompts": PROMPTS}, 0),
    "fail": ({"severities": LEAKS}, 1),
    "untrusted": ({"severities": LEAKS, "n_false": 8}, 3),
}


def leaks_of(run: Path) -> list[str]:
    """Return the fingerprints of an example's findings of high severity."""
    import pyarrow.parquet as pq

    findings = collect_findings(
        *(pq.read_table(run / f"{name}.parquet") for name in ("scores", "recoveries", "memories"))
    )
    return [finding.fingerprint for finding in findings if finding.severity == "high"]


def waiver(fingerprint: str, expires: str) -> str:
    """Return the text of a waivers file with one entry."""
    return f'[[waiver]]\nfingerprint = "{fingerprint}"\nreason = "r"\nowner = "ana"\nexpires = {expires}\n'
