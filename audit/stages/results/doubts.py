"""Say what a reader of an audit must know of it, and why it must not be trusted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flashbulb.audit.prompts.apart import count_alike, describe_audited
from flashbulb.audit.record.sets import cut_readings
from flashbulb.audit.stages.results.state import Inputs, RecordedRun
from flashbulb.audit.statistics.detection import Detected
from flashbulb.audit.statistics.style import MIN_PROMPTS
from flashbulb.reports.bounds.rates import percent

UNEXAMINED = "Whether the model runs as it was trained was not examined (--no-examine): a broken model passes as well."


def warnings_of(recorded: RecordedRun, detected: Detected) -> tuple[str, ...]:
    """Return what a reader of the result must know."""
    inputs = recorded.inputs
    unexamined = () if inputs.settings.examine else (UNEXAMINED,)
    reference = inputs.reference
    audited = () if reference is None or not reference.n_audited else (describe_audited(reference),)
    own = (
        *_alike_warnings(inputs),
        *_cut_warnings(recorded),
        *_base_warnings(detected),
        *_style_warnings(inputs, detected),
    )
    return (*unexamined, *audited, *own)


def _alike_warnings(inputs: Inputs) -> Iterator[str]:
    reference = () if inputs.reference is None else inputs.reference.prompts.texts
    for name, texts in (("prompts", inputs.all_texts), ("reference prompts", reference)):
        if n := count_alike(texts):
            yield (
                f"{n:,} of the {name} differ from another one in case, spaces or Unicode form alone. Most tokenizers "
                "read these alike, so counts and bounds take one prompt for several; keep one of each."
            )


def _cut_warnings(recorded: RecordedRun) -> Iterator[str]:
    nouns = {"candidates": "prompts", "reference": "reference prompts"}
    read = {name: cut_readings(recorded.sets[name]) for name in nouns if name in recorded.sets}
    if (screened := recorded.inputs.screened) is not None:
        read["candidates"] = np.append(read["candidates"], screened.cut).astype(np.int64)
    for name, cut in read.items():
        if n := len(cut) - len(np.unique(cut)):
            yield (
                f"{n:,} of the {nouns[name]} differ from another one only behind the last token that the model reads, "
                "so counts and bounds take one prompt for several; begin them with what tells them apart."
            )
    if "reference" in read and (n := int(np.isin(read["reference"], read["candidates"]).sum())):
        yield (
            f"{n:,} of the reference prompts differ from prompts to audit only behind the last token that the model "
            "reads: a memorized prompt would hide behind itself. Take them out of the reference."
        )


def _base_warnings(detected: Detected) -> tuple[str, ...]:
    if detected.scored.known_by_base is None:
        return ()
    return (
        "This audit says what the training added to the base. "
        f"The {int(detected.scored.known_by_base.sum())} prompts that the base flags by its own score are listed apart "
        "and are no findings; audit the base to judge them.",
    )


def _style_warnings(inputs: Inputs, detected: Detected) -> tuple[str, ...]:
    if inputs.reference is None:
        return ("There is no reference: the candidates were calibrated on themselves, assuming few are memorized.",)
    if detected.style_shift is not None and detected.pooled:
        return (
            "The reference is of another style than the candidates: the text alone separates them with an AUC of "
            f"{detected.style_shift:.2f} (limit {inputs.settings.max_style_shift:g}). Calibration "
            "used the candidates as well; give a reference in their style.",
        )
    return ()


def problems_of(inputs: Inputs, detected: Detected) -> tuple[str, ...]:
    """Return why the result must not be trusted: an audit that cannot fail must not pass."""
    settings, scored = inputs.settings, detected.scored
    problems = list(_style_warnings(inputs, detected)) if settings.strict else []
    if settings.strict and inputs.reference is not None and detected.style_shift is None:
        problems.append(
            f"The styles of reference and candidates cannot be compared with fewer than {MIN_PROMPTS} prompts each."
        )
    if scored.finite_threshold is None:
        fewest = min(style.n_calibrating for style in scored.styles if not np.isfinite(style.threshold))
        problems.append(
            f"{fewest} reference prompts cannot show a false-positive rate of {percent(settings.fpr)}; "
            f"give at least {int(np.ceil(1 / settings.fpr)) - 1}, or raise --fpr."
        )
    return tuple(problems)
