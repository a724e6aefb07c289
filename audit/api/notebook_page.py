"""What a notebook shows of a result: verdict, reasons, and the first findings with small images, as escaped HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from flashbulb.reports.page.thumbnails import thumbnail
from flashbulb.reports.views.text import visible_text

if TYPE_CHECKING:
    from flashbulb.audit.api.result import AuditResult

_N_SHOWN = 8
_COLOURS = {"pass": "#1a7f37", "inconclusive": "#0969da", "fail": "#cf222e", "untrusted": "#9a6700"}
_HEADER = ("training image", "recovered", "prompt", "severity", "verdict")
_CELL = "padding:4px 10px;text-align:left;vertical-align:middle"


def result_html(result: AuditResult) -> str:
    """Return the HTML of a result."""
    outcome, findings = result.verdict.outcome, result.findings
    colour = _COLOURS[outcome]
    reasons = "".join(f"<li>{_text(reason)}</li>" for reason in result.verdict.reasons)
    rows = "".join(_row(result, position) for position in range(min(_N_SHOWN, len(findings))))
    head = "".join(f'<th style="{_CELL}">{title}</th>' for title in _HEADER)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""
    more = len(findings) - _N_SHOWN
    rest = f"<p>{more} more in <code>result.findings</code></p>" if more > 0 else ""
    return (
        f'<div><p><strong style="color:{colour}">{_text(outcome)}</strong> <code>{_text(str(result.run))}</code></p>'
        f"<ul>{reasons}</ul>{table}{rest}</div>"
    )


def _row(result: AuditResult, position: int) -> str:
    finding, paths = result.findings.iloc[position], result.image_paths(position)
    images = []
    for name in ("training", "recovered"):
        source = thumbnail(paths[name], "shown") if name in paths else None
        images.append(f'<img src="{escape(source)}" alt="{name} image" width="96">' if source else "none")
    prompt = _text(finding["prompt"]) if isinstance(finding["prompt"], str) else "no prompt"
    cells = (*images, prompt, _text(finding["severity"]), _text(finding["recovery"]))
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _text(text: str) -> str:
    return escape(visible_text(text, 300))
