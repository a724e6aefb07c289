"""`summary.md`: the verdict and its grounds on one page, for a person or a CI summary."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

import pyarrow as pa
import pyarrow.compute as pc

from reports.rates import percent, wilson_interval
from reports.run_record import RunRecord
from reports.schema import RECOVERY_VERDICTS
from reports.text import markdown_code

N_WORST = 10
SHORT_PROMPT = 60  # characters; a summary is often public
LONG_PROMPT = 2000
MAX_ROWS = 100  # of a table of settings, so that the page stays below the 1 MiB that CI services show

_HEADLINES = {"pass": "pass", "fail": "gate failed", "untrusted": "not to be trusted"}
_LIMITS = (
    "A flagged neuron is evidence of recall, not the place where the memory is stored.",
    "A pass is not a proof of absence: only the given prompts were tried, and a memory can answer to others.",
    "Scores are calibrated on the reference prompts; with references unlike the candidates, "
    "p-values say how unlike they are, not how memorized.",
    "Pictures that agree across seeds show that a prompt has one answer; only a match with a training image "
    "shows whose it is.",
)


def summary_markdown(run: RunRecord, scores: pa.Table, recoveries: pa.Table, show_prompts: bool) -> str:
    """Render the summary; prompts are cut to 60 characters unless `show_prompts`."""
    sections = (
        _head(run),
        [f"> {_sentence(warning)}" for warning in run.warnings],
        _counts(run),
        _worst_prompts(scores, recoveries, LONG_PROMPT if show_prompts else SHORT_PROMPT),
        _calibration(run),
        ["## What this does not prove", "", *(f"- {limit}" for limit in _LIMITS)],
        _cost(run),
        _pairs("Settings", run.settings),
        _pairs("Versions", run.versions),
    )
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def _head(run: RunRecord) -> list[str]:
    headline = _HEADLINES[run.verdict.outcome] if run.verdict else f"no verdict ({_code(run.status)})"
    reasons = run.verdict.reasons if run.verdict else run.problems
    return [
        f"# Memorization audit: {headline}",
        "",
        *(f"- {_sentence(reason)}" for reason in reasons[:MAX_ROWS]),
        "",
        f"Model {_code(run.model.name)}, fingerprint {_code(run.model.fingerprint)}.",
    ]


def _counts(run: RunRecord) -> list[str]:
    counts, fpr = run.counts, run.calibration.fpr
    rows = [
        ("rows read", f"{counts.n_rows} ({counts.n_empty} empty, {counts.n_truncated} cut by the tokenizer)"),
        ("prompts scored", f"{counts.n_scored} of {counts.n_prompts} distinct ones"),
        *([("of them left out by tier 0", str(counts.n_left_out))] if counts.n_left_out else []),
        ("prompts flagged", _rate(counts.n_flagged, counts.n_scored)),
        ("expected by chance", f"{fpr * counts.n_scored:.1f} at a false-positive rate of {percent(fpr)}"),
        ("of high severity", str(counts.n_high)),
        ("memorized pictures confirmed", str(counts.n_confirmed_pictures)),
        ("controls that gave a picture as well", _rate(counts.n_false_recoveries, counts.n_controls)),
    ]
    return ["## Counts", "", *_table(("", ""), rows)]


def _worst_prompts(scores: pa.Table, recoveries: pa.Table, limit: int) -> list[str]:
    judged = scores.filter(pc.is_valid(scores["spike_score"]))
    worst = judged.sort_by([("flagged", "descending"), ("spike_score", "descending")]).slice(0, N_WORST).to_pylist()
    if not worst:
        return []
    pictures = _best_verdicts(recoveries, [row["prompt_id"] for row in worst])
    rows = [
        (
            markdown_code(row["prompt"], limit),
            _code(f"{PurePath(row['source_file']).name}:{row['source_row']}"),
            f"{row['spike_score']:.3g}",
            f"{row['p_value']:.2g}",
            f"{row['q_value']:.2g}",
            row["severity"] if row["flagged"] else "not flagged",
            pictures.get(row["prompt_id"], "not tried"),
        )
        for row in worst
    ]
    header = ("prompt", "from", "spike score", "p", "q", "severity", "picture")
    return [f"## The {len(rows)} most suspicious prompts", "", *_table(header, rows)]


def _best_verdicts(recoveries: pa.Table, prompt_ids: Sequence[str]) -> dict[str, str]:
    chosen = pc.is_in(recoveries["prompt_id"], pa.array(prompt_ids, pa.string()))
    columns = recoveries.filter(chosen).select(["prompt_id", "verdict"])
    rows = [(row["prompt_id"], row["verdict"]) for row in columns.to_pylist()]
    rows.sort(key=lambda row: RECOVERY_VERDICTS.index(row[1]), reverse=True)
    return {prompt_id: verdict.replace("_", " ") for prompt_id, verdict in rows}  # the best comes last and stays


def _calibration(run: RunRecord) -> list[str]:
    calibration, source = run.calibration, _sentence(run.calibration.reference_source)
    style = (
        "How well the words alone tell flagged from reference prompts was not measured."
        if calibration.style_auc is None
        else "The words alone tell flagged from reference prompts with an AUC of "
        f"{calibration.style_auc:.2f} (0.5: not at all, 1: entirely)."
    )
    shift = (
        "How well they tell candidates from reference prompts was not measured."
        if calibration.style_shift is None
        else f"They tell candidates from reference prompts with an AUC of {calibration.style_shift:.2f}."
    )
    threshold = "No threshold" if calibration.threshold is None else f"Threshold {calibration.threshold:.4g}"
    rows = [
        (
            f"{style.n_calibrating} {'reference prompts' if style.on_reference else 'candidates themselves'}",
            str(style.n_candidates),
            "none" if style.threshold is None else f"{style.threshold:.4g}",
            f"{style.tail_error:.2f}",
        )
        for style in calibration.styles[:MAX_ROWS]
    ]
    return [
        "## Calibration",
        "",
        f"{threshold} for a false-positive rate of {percent(calibration.fpr)}, "
        f"from {calibration.n_reference} reference prompts ({source}). {style} {shift}",
        "",
        "Prompts are judged among prompts of their style; the misfit is the tail's Kolmogorov-Smirnov distance to the "
        "scores it was fitted to.",
        "",
        *_table(("calibrated on", "candidates judged", "threshold", "misfit"), rows),
    ]


def _cost(run: RunRecord) -> list[str]:
    stages = list(dict.fromkeys((*run.timings, *run.evaluations)))[:MAX_ROWS]
    rows = [
        (_code(stage), str(run.evaluations.get(stage, 0)), f"{run.timings.get(stage, 0.0):.1f}") for stage in stages
    ]
    total = ("all", str(sum(run.evaluations.values())), f"{sum(run.timings.values()):.1f}")
    return ["## Cost", "", *_table(("stage", "UNet evaluations", "seconds"), [*rows, total])]


def _pairs(title: str, pairs: Mapping[str, object]) -> list[str]:
    rows = [(_code(name), _code(value)) for name, value in list(pairs.items())[:MAX_ROWS]]
    return [f"## {title}", "", *_table(("", ""), rows)] if rows else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = (header, ["---"] * len(header), *rows)
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _rate(part: int, whole: int) -> str:
    if whole == 0:
        return "none were tried"
    low, high = map(percent, wilson_interval(part, whole))
    return f"{part} of {whole} ({percent(part / whole)}, 95 % interval {low} to {high})"


def _code(value: object) -> str:
    return markdown_code(str(value), 200)


def _sentence(text: str) -> str:
    """Our own sentence, which may quote a name from outside: as it is if it holds no markup, else as code."""
    plain = all(character.isalnum() or character in " .,:;%()/'-" for character in text)
    harmless = plain and "://" not in text and "www." not in text and 0 < len(text) <= 500
    return text if harmless else markdown_code(text, 500)
