"""A section for the model's card, as Markdown with metadata in the form that the Hugging Face hub reads."""

import json
from pathlib import Path, PurePath
from typing import Any

from reports.check import CheckedRun
from reports.files import write_text
from reports.gate import GateReport
from reports.markdown_parts import code, page, sentence, table
from reports.rates import percent, rate_of, rate_text
from reports.text import visible_text

_WORDS = {"pass": "passed", "fail": "did not pass", "untrusted": "could not be trusted"}


def model_card(report: GateReport, run: CheckedRun) -> str:
    """Metadata (`model-index`) and a section on memorization; no prompts, no pictures.

    What is stated is what the audit found, waived or not: a reader of the card did not sign the waivers.
    """
    return page(_metadata(run), _section(report, run))


def write_model_card(path: Path, report: GateReport, run: CheckedRun) -> None:
    """Write `model_card`, whole or not at all."""
    write_text(path, model_card(report, run))


def _metadata(run: CheckedRun) -> list[str]:
    """YAML front matter; each value is JSON, which is YAML as well."""
    results = run.results
    name = visible_text(PurePath(run.record.model.name).name or "model", 80)
    metrics: dict[str, float] = {
        "memorized_pictures_confirmed": results.n_confirmed_pictures,
        "prompts_with_recovered_picture": results.n_recovered,
        "prompts_flagged": results.n_flagged,
        "prompts_audited": results.n_scored,
    }
    entry = {
        "task": {"type": "text-to-image"},
        "dataset": {"type": "captions", "name": _prompts(run)},
        "metrics": [{"type": kind, "value": value, "name": kind.replace("_", " ")} for kind, value in metrics.items()],
    }
    index = [{"name": name, "results": [entry]}]
    return ["---", f"model-index: {json.dumps(index, ensure_ascii=False)}", "---"]


def _section(report: GateReport, run: CheckedRun) -> list[str]:
    results, record = run.results, run.record
    waived = sum(judged.standing == "waived" for judged in report.judged)
    rows = [
        ("prompts audited", f"{results.n_scored} of {results.n_prompts}, from {code(_prompts(run))}"),
        ("prompts flagged", rate_text(rate_of(results.n_flagged, results.n_scored))),
        ("expected by chance", f"{results.fpr * results.n_scored:.1f}, at a rate of {percent(results.fpr)}"),
        ("prompts whose picture came back", str(results.n_recovered)),
        ("distinct memorized pictures confirmed", str(results.n_confirmed_pictures)),
        ("controls that gave a picture", rate_text(record.false_recovery)),
        *([("findings waived", str(waived))] if waived else []),
    ]
    return [
        "## Memorization audit",
        "",
        f"The audit **{_WORDS[report.verdict.outcome]}** its gate.",
        "",
        *(f"- {sentence(line)}" for line in (*report.verdict.reasons, *report.notes[:5])),
        "",
        *table(("", ""), rows),
        "",
        f"Audited with engram {code(record.versions.get('engram', 'unknown'))}; model fingerprint "
        f"{code(record.model.fingerprint)}. Only the given prompts were tried: a pass is not a proof of absence.",
    ]


def _prompts(run: CheckedRun) -> str:
    described: Any = run.record.inputs.get("prompts")
    source = described.get("source", "captions") if isinstance(described, dict) else "captions"
    return visible_text(PurePath(str(source)).name or "captions", 80)
