"""`summary.md`: the verdict and the reasons for it on one page, for a person or a CI summary."""

from collections.abc import Sequence
from pathlib import PurePath

import pyarrow as pa

from flashbulb.reports.bounds.rates import percent, rate_of, rate_text
from flashbulb.reports.power.sensitivity import false_flag_rate
from flashbulb.reports.power.sentences import band_text, power_sentences
from flashbulb.reports.tables.frame import frame_sentence
from flashbulb.reports.tables.recoveries import count_by_strategy
from flashbulb.reports.tables.rows import Rows
from flashbulb.reports.tables.run_record import Calibration, RunRecord
from flashbulb.reports.tables.schema import BASE_SCORE, FINETUNE_SCORE
from flashbulb.reports.tables.strata import strata_of
from flashbulb.reports.views.canaries import HEADER, TABLE_NOTE, canary_rows, canary_sentences
from flashbulb.reports.views.listed_prompts import known_by_base, suspects_of
from flashbulb.reports.views.markdown_parts import (
    HEADLINES,
    MAX_ROWS,
    VERDICT_MEANINGS,
    code,
    contrast,
    cost,
    page,
    pairs,
    sentence,
    strata,
    table,
)
from flashbulb.reports.views.text import markdown_code

LONGEST_PROMPT = 2000  # characters

_LIMITS = (
    "A flagged neuron is evidence of recall, not the place where the image is stored.",
    "A pass is not a proof of absence: only the given prompts were tried. Others can recall a memorized image.",
    "Scores are calibrated on the reference prompts. If these are unlike the candidates, p-values measure that "
    "difference, not memorization.",
    "Images that agree across seeds show that a prompt has a single answer. Only a match with a training image shows "
    "what it reproduces.",
)


def summary_markdown(
    run: RunRecord,
    scores: Rows,
    recoveries: pa.Table,
    show_prompts: bool,
    leaks: Sequence[Sequence[str]] = (),
) -> str:
    """Render the summary; without `show_prompts`, prompts are named by file and row only.

    Args:
        leaks: sections on what leaked and what to do.
    """
    return page(
        _head(run),
        [f"> {sentence(message)}" for message in (*run.warnings, *run.notes)[:MAX_ROWS]],
        *leaks,
        _counts(run),
        _power(run),
        _suspects(scores, recoveries, show_prompts),
        _known(run, scores, show_prompts),
        strata(strata_of(scores, recoveries)),
        _recovery(run, recoveries),
        _canaries(run),
        contrast(run.propensity, rate_of(run.counts.n_recovered, run.counts.n_scored)),
        _calibration(run),
        ["## What this does not prove", "", *(f"- {limit}" for limit in _LIMITS)],
        cost(run.evaluations, run.timings),
        pairs("Policy", {key: limit for key, limit in (run.policy or {}).items() if limit is not None}),
        pairs("Settings", run.settings),
        pairs("Versions", run.versions),
    )


def _head(run: RunRecord) -> list[str]:
    headline = HEADLINES[run.verdict.outcome] if run.verdict else f"no verdict ({code(run.status)})"
    reasons = run.verdict.reasons if run.verdict else run.problems
    return [
        f"# Memorization audit: {headline}",
        "",
        *(f"- {sentence(reason)}" for reason in reasons[:MAX_ROWS]),
        "",
        f"Model {code(run.model.name)}, fingerprint {code(run.model.fingerprint)}.",
        *(["", f"Seal {code(f'sha256:{run.seal.digest}')}."] if run.seal else []),
        *_base(run),
    ]


def _base(run: RunRecord) -> list[str]:
    if run.base is None:
        return []
    return [
        "",
        f"Compared with its base {code(run.base.name)}, fingerprint {code(run.base.fingerprint)}: spike scores are "
        "those of the model minus those of the base, and flags say what the training added.",
    ]


def _counts(run: RunRecord) -> list[str]:
    counts, fpr = run.counts, false_flag_rate(run)
    rows = [
        ("rows read", f"{counts.n_rows:,} ({counts.n_empty:,} empty, {counts.n_truncated:,} cut by the tokenizer)"),
        ("prompts scored", f"{counts.n_scored:,} of {counts.n_prompts:,} distinct prompts"),
        *([("of them left out by tier 0", str(counts.n_left_out))] if counts.n_left_out else []),
        ("prompts flagged", rate_text(rate_of(counts.n_flagged, counts.n_scored))),
        ("expected by chance", f"{fpr * counts.n_scored:.1f} at a false-positive rate of {percent(fpr)}"),
        ("of high severity", str(counts.n_high)),
        ("whose image came back", f"{counts.n_recovered} prompts"),
        ("memorized images confirmed", str(counts.n_confirmed_pictures)),
    ]
    return ["## Counts", "", frame_sentence(run.frame), "", *table(("", ""), rows)]


def _power(run: RunRecord) -> list[str]:
    sentences = power_sentences(run)
    return (
        ["## What this audit could have found", "", *(f"- {sentence(text)}" for text in sentences)] if sentences else []
    )


def _suspects(scores: Rows, recoveries: pa.Table, show_prompts: bool) -> list[str]:
    suspects = suspects_of(scores, recoveries)
    if not suspects:
        return []
    rows = [
        (
            *([markdown_code(row["prompt"], LONGEST_PROMPT)] if show_prompts else []),
            code(f"{PurePath(row['source_file']).name}:{row['source_row']}"),
            f"{row['spike_score']:.3g}",
            f"{row['p_value']:.2g}",
            f"{row['q_value']:.2g}",
            row["severity"] if row["flagged"] else "not flagged",
            recovery,
        )
        for row, recovery in suspects
    ]
    header = (*(["prompt"] if show_prompts else []), "from", "spike score", "p", "q", "severity", "image")
    return [f"## The {len(rows)} most suspicious prompts", "", *table(header, rows)]


def _known(run: RunRecord, scores: Rows, show_prompts: bool) -> list[str]:
    """List what the base already knew, apart from the findings."""
    known = known_by_base(run, scores)
    if known is None:
        return []
    rows = [
        (
            *([markdown_code(row["prompt"], LONGEST_PROMPT)] if show_prompts else []),
            code(f"{PurePath(row['source_file']).name}:{row['source_row']}"),
            f"{row[BASE_SCORE]:.3g}",
            f"{row[FINETUNE_SCORE]:.3g}",
            f"{row['spike_score']:.3g}",
            "yes" if row["flagged"] else "no",
        )
        for row in known.rows
    ]
    header = (*(["prompt"] if show_prompts else []), "from", "base", "fine-tune", "difference", "flagged")
    return ["## What the base already knew", "", known.sentence, *(["", *table(header, rows)] if rows else [])]


def _recovery(run: RunRecord, recoveries: pa.Table) -> list[str]:
    """Count what each strategy was tried on and recovered, with its controls, and explain the verdicts."""
    counts = count_by_strategy(recoveries)
    if not counts:
        return ["## Recovery", "", "No prompt was tried."]
    rows = [
        (
            f"`{count.strategy}`",
            str(count.n_tried),
            str(count.n_shown) if count.n_tried else "–",
            str(count.n_controls),
            str(count.n_false) if count.n_controls else "–",
            str(count.evaluations),
        )
        for count in counts
    ]
    header = ("strategy", "prompts tried", "with an image", "controls tried", "with an image", "denoiser evaluations")
    return [
        "## Recovery",
        "",
        "Strategies are tried in this order until one is confirmed. An attempt without a prompt counts as a prompt. "
        "Controls are unflagged prompts, tried only as far as a strategy gave an image of a flagged prompt.",
        "",
        *table(header, rows),
        "",
        f"False recoveries, controls that gave an image by any strategy: {rate_text(run.false_recovery)}.",
        "",
        *(f"- **{verdict}**: {meaning}" for verdict, meaning in VERDICT_MEANINGS.items()),
    ]


def _canaries(run: RunRecord) -> list[str]:
    """State what planted canaries show."""
    if run.canaries is None:
        return []
    rows = canary_rows(run.canaries)
    lines = [line for text in canary_sentences(run.canaries) for line in ("", text)]
    return ["## Canaries", *lines, *(["", *table(HEADER, rows), "", TABLE_NOTE] if rows else [])]


def _calibration(run: RunRecord) -> list[str]:
    calibration, source = run.calibration, sentence(run.calibration.reference_source)
    style = (
        f"How well the text alone separates flagged from {run.compared_with} prompts was not measured."
        if calibration.style_auc is None
        else f"The text alone separates flagged from {run.compared_with} prompts with an AUC of "
        f"{calibration.style_auc:.2f} (0.5: not at all, 1: entirely)."
    )
    shift = (
        "How well it separates candidate from reference prompts was not measured."
        if calibration.style_shift is None
        else f"It separates candidate from reference prompts with an AUC of {calibration.style_shift:.2f}."
    )
    rows = [
        (
            f"{style.n_calibrating} {'reference prompts' if style.on_reference else 'candidate prompts'}",
            str(style.n_candidates),
            "none" if style.threshold is None else f"{style.threshold:.4g}",
            band_text(style, calibration.fpr),
            f"{style.tail_error:.2f}",
        )
        for style in calibration.styles[:MAX_ROWS]
    ]
    return [
        "## Calibration",
        "",
        f"{_thresholds(calibration)} for a false-positive rate of {percent(calibration.fpr)}, "
        f"from {calibration.n_reference} reference prompts ({source}). {style} {shift}",
        "",
        "Each prompt is compared with prompts of its style. The true false-positive rate lies in these bounds for "
        "90 % of references of this size. The misfit is the Kolmogorov-Smirnov distance of the tail from the scores it "
        "was fitted to.",
        "",
        *table(("calibrated on", "candidates", "threshold", "true rate", "misfit"), rows),
    ]


def _thresholds(calibration: Calibration) -> str:
    """Name the threshold, or between which values those of several styles lie."""
    if calibration.threshold is None:
        return "No threshold"
    known = [style.threshold for style in calibration.styles if style.n_candidates and style.threshold is not None]
    low, high = f"{min(known, default=calibration.threshold):.4g}", f"{calibration.threshold:.4g}"
    return f"Threshold {high}" if low == high else f"Thresholds {low} to {high}, by the style of a prompt,"
