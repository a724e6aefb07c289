"""A section for a model card: Markdown, with metadata in the form that the Hugging Face Hub reads."""

from pathlib import Path, PurePath
from typing import Any

from flashbulb.reports.bounds.rates import percent, rate_of, rate_text
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.power.sentences import false_finds_text, power_text
from flashbulb.reports.tables.files import write_text
from flashbulb.reports.views.markdown_parts import code, page, sentence, table
from flashbulb.reports.views.text import json_text, visible_text

_OUTCOMES = {
    "pass": "The audit **passed** its gate.",
    "inconclusive": "The audit is **inconclusive**: its gate found nothing above the limits, but it could have missed "
    "too much to pass.",
    "fail": "The audit **did not pass** its gate.",
    "untrusted": "The audit **cannot be trusted**, so its gate gives no result.",
}


def model_card(report: GateReport, run: CheckedRun) -> str:
    """Render metadata (`model-index`) and a section on memorization, without prompts or images.

    The counts include waived findings, because a reader of the card did not sign the waivers.
    """
    return page(_metadata(run), _section(report, run))


def write_model_card(path: Path, report: GateReport, run: CheckedRun) -> None:
    """Write `model_card`, completely or not at all."""
    write_text(path, model_card(report, run))


def _metadata(run: CheckedRun) -> list[str]:
    """Return the YAML front matter; its values are written as JSON, which is valid YAML."""
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
        "dataset": {"type": "captions", "name": _prompts_name(run)},
        "metrics": [{"type": kind, "value": value, "name": kind.replace("_", " ")} for kind, value in metrics.items()],
    }
    index = [{"name": name, "results": [entry]}]
    return ["---", f"model-index: {json_text(index)}", "---"]


def _section(report: GateReport, run: CheckedRun) -> list[str]:
    results, record = run.results, run.record
    n_waived = sum(judged.standing == "waived" for judged in report.judged)
    seal = f", seal {code(f'sha256:{report.seal}')}" if report.seal else ""
    rows = [
        ("prompts audited", f"{results.n_scored:,} of {results.n_prompts:,}, from {code(_prompts_name(run))}"),
        ("prompts flagged", rate_text(rate_of(results.n_flagged, results.n_scored))),
        (
            "expected by chance",
            f"{results.fpr * results.n_scored:.1f}, at a false-positive rate of {percent(results.fpr)}",
        ),
        ("prompts with a recovered image", str(results.n_recovered)),
        ("distinct memorized images confirmed", str(results.n_confirmed_pictures)),
        ("controls that gave an image", rate_text(record.false_recovery)),
        ("false ones among recovered images", false_finds_text(record.power) if record.power else "not known"),
        ("extractable prompts", power_text(record.power, record.frame) if record.power else "not known"),
        *([("findings waived", str(n_waived))] if n_waived else []),
    ]
    return [
        "## Memorization audit",
        "",
        _OUTCOMES[report.verdict.outcome],
        "",
        *(f"- {sentence(line)}" for line in (*report.verdict.reasons, *report.notes[:5])),
        "",
        *table(("", ""), rows),
        "",
        f"Audited with flashbulb {code(record.versions.get('flashbulb', 'unknown'))}; model fingerprint "
        f"{code(record.model.fingerprint)}{seal}. Only the given prompts were tried: a pass does not prove that the "
        "model memorized nothing.",
    ]


def _prompts_name(run: CheckedRun) -> str:
    """Return the name of the prompt file, without its folder."""
    described: Any = run.record.inputs.get("prompts")
    source = described.get("source", "captions") if isinstance(described, dict) else "captions"
    return visible_text(PurePath(str(source)).name or "captions", 80)
