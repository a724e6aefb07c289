"""SARIF 2.1.0 of a gate: one result per finding, located at its prompt's row in the prompt file."""

import logging
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from urllib.parse import quote

from flashbulb import __version__
from flashbulb.reports.checks.findings import IMAGE, SPIKE, Finding
from flashbulb.reports.gate.judgement import GateReport, JudgedFinding
from flashbulb.reports.tables.files import write_text
from flashbulb.reports.tables.stores import is_uri
from flashbulb.reports.tables.verdict import EXIT_CODES
from flashbulb.reports.views.text import json_text, visible_text

logger = logging.getLogger(__name__)

MAX_RESULTS = 25_000
"""Results that a log holds. GitHub refuses a file with more, and shows the worst 5,000 of them."""

HELP_URI = "https://example.invalid/flashbulb/blob/main/docs/gate.md"
"""Where rules are explained: below the homepage in pyproject.toml, whose owner sets both."""


class _Rule(NamedTuple):
    """A kind of finding as code scanning shows it. `security_severity` is GitHub's scale, 0 to 10."""

    short: str
    full: str
    help: str
    security_severity: str


_RULES = {
    IMAGE: _Rule(
        "A memorized image was recovered with this prompt.",
        "The model gives an image of its training set, or one that is judged to be of it, for this prompt. Anyone who "
        "has the model can extract that image.",
        "Drop the training image that the result names or deduplicate it, retrain, and compare with `flashbulb diff`. "
        "`to_remove.csv` of the run lists all such images. `flashbulb show RUN FINGERPRINT` shows the finding. Accept "
        "it until a day with `flashbulb waivers add`.",
        "8.0",
    ),
    SPIKE: _Rule(
        "The model's neurons spike on this prompt as they do on prompts of memorized images.",
        "Neurons respond to this prompt far more strongly than to prompts that are not memorized, but no image came "
        "back. About one prompt in a hundred is flagged by chance, at the default false-positive rate.",
        "A flag alone is a suspicion. Look at it with `flashbulb show RUN FINGERPRINT`, and give recovery more seeds "
        "or the training images to compare with.",
        "4.0",
    ),
}
_LEVEL_OF_SEVERITY = {"high": "warning", "medium": "warning", "low": "note"}
_BASELINE_STATES = {
    "new": "new",
    "worse": "updated",
    "better": "updated",
    "unchanged": "unchanged",
    "fixed": "absent",
}


def sarif_log(report: GateReport, root: Path, show_prompts: bool) -> dict[str, Any]:
    """Render a report as a SARIF log of one run, with its worst `MAX_RESULTS` findings.

    Args:
        root: folder that locations are relative to. A prompt file outside of it is given by its name only.
    """
    n_omitted = max(0, len(report.listed) - MAX_RESULTS)
    properties: dict[str, Any] = {
        "outcome": report.verdict.outcome,
        "exitCode": report.verdict.exit_code,
        "omittedResults": n_omitted,
    }
    if report.model:
        properties |= {"model": _text(report.model.name), "modelFingerprint": report.model.fingerprint}
    if report.seal:
        properties["seal"] = f"sha256:{report.seal}"
    run = {
        "tool": {"driver": {"name": "flashbulb", "version": __version__, "rules": _rules()}},
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": "flashbulb/gate/"},
        "invocations": [_invocation(report, n_omitted)],
        "results": [_result(judged, root, show_prompts) for judged in report.listed[:MAX_RESULTS]],
        "properties": properties,
    }
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def write_sarif(path: Path, report: GateReport, root: Path, show_prompts: bool) -> None:
    """Write `sarif_log`, completely or not at all."""
    write_text(path, json_text(sarif_log(report, root, show_prompts), indent=1) + "\n")
    if n_omitted := max(0, len(report.listed) - MAX_RESULTS):
        logger.warning("%s: %s", path, _omission(n_omitted))


def _rules() -> list[dict[str, Any]]:
    return [
        {
            "id": f"flashbulb/{kind}",
            "shortDescription": {"text": rule.short},
            "fullDescription": {"text": rule.full},
            "help": {"text": rule.help.replace("`", ""), "markdown": rule.help},
            "helpUri": f"{HELP_URI}#outputs",
            "defaultConfiguration": {"level": "warning"},
            "properties": {"security-severity": rule.security_severity, "tags": ["security", "privacy"]},
        }
        for kind, rule in _RULES.items()
    ]


def _omission(n_omitted: int) -> str:
    return f"Only the worst {MAX_RESULTS:,} findings are listed here; {n_omitted:,} more are in findings.jsonl."


def _invocation(report: GateReport, n_omitted: int) -> dict[str, Any]:
    verdict = report.verdict
    level = {"pass": "note", "inconclusive": "warning", "fail": "error", "untrusted": "error"}[verdict.outcome]
    return {
        "executionSuccessful": verdict.exit_code != EXIT_CODES["untrusted"],
        "exitCode": verdict.exit_code,
        "exitCodeDescription": verdict.outcome,
        "toolExecutionNotifications": [
            *({"level": level, "message": {"text": _text(reason)}} for reason in verdict.reasons),
            *({"level": "warning", "message": {"text": _text(note)}} for note in report.notes),
            *([{"level": "warning", "message": {"text": _omission(n_omitted)}}] if n_omitted else []),
        ],
    }


def _result(judged: JudgedFinding, root: Path, show_prompts: bool) -> dict[str, Any]:
    finding, waiver = judged.finding, judged.waiver
    result: dict[str, Any] = {
        "ruleId": f"flashbulb/{finding.kind}",
        "ruleIndex": list(_RULES).index(finding.kind),
        "level": "error" if judged.standing == "breaks" else _LEVEL_OF_SEVERITY[finding.severity],
        "message": {"text": finding.headline(show_prompts)},
        "locations": _locations(finding, root),
        "partialFingerprints": {"flashbulb/v1": finding.fingerprint},
        "properties": {
            "standing": judged.standing,
            "severity": finding.severity,
            "recovery": finding.verdict,
            **_nearest(finding),
            **_probability(finding),
        },
    }
    if judged.change:
        result["baselineState"] = _BASELINE_STATES[judged.change]
    if waiver:
        reason = f"{waiver.reason} ({waiver.owner}, until {waiver.expires})"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": _text(reason)}]
    elif judged.standing == "known":
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": "in the baseline"}]
    return result


def _nearest(finding: Finding) -> dict[str, Any]:
    """Return the training image nearest to the finding's image, and how many prompts lead to that image."""
    nearest = finding.nearest
    if finding.kind != IMAGE or nearest is None:
        return {}
    return {
        **({"nearestImage": nearest.name} if nearest.name else {}),
        "similarity": nearest.similarity,
        "copy": nearest.kind or "none",
        "promptsOfImage": finding.n_prompts,
    }


def _probability(finding: Finding) -> dict[str, Any]:
    """Return how often plain samples show the finding's image: the share, its 95 % bounds, and of how many samples."""
    found = finding.replication
    if found is None or found.samples == 0:
        return {}
    return {
        "probability": found.share,
        "probabilityLow": found.low,
        "probabilityHigh": found.high,
        "samples": found.samples,
    }


def _locations(finding: Finding, root: Path) -> list[dict[str, Any]]:
    if finding.source_file is None:
        return []
    artifact = {"uri": _uri(finding.source_file, root), "uriBaseId": "%SRCROOT%"}
    region = {"startLine": max(finding.source_row or 1, 1)}
    return [{"physicalLocation": {"artifactLocation": artifact, "region": region}}]


def _uri(source_file: str, root: Path) -> str:
    path = PurePath(source_file)
    if is_uri(source_file):
        path = PurePath(path.name)
    elif path.is_absolute():
        path = path.relative_to(root) if path.is_relative_to(root) else PurePath(path.name)
    elif ".." in path.parts:
        path = PurePath(path.name)
    return quote(path.as_posix(), errors="surrogateescape")


def _text(text: str) -> str:
    return visible_text(text, 2000)
