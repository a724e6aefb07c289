"""How sensitive an audit is, by canaries in its own model or by the planted models, and what its power then is."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from flashbulb.reports.bounds.power import (
    LOW_FPR,
    Power,
    Sensitivity,
    StyleSize,
    false_finds,
    flags_at,
    flags_at_measured,
    missed_bound,
    reference_needed,
    share_bound,
    supports,
)
from flashbulb.reports.bounds.rates import Rate, lower_bound, percent, rate_of, upper_bound
from flashbulb.reports.tables.rows import Rows, iter_column, iter_rows
from flashbulb.reports.tables.run_record import RunRecord


class PlantedModel(NamedTuple):
    """What audits of one model brought back of the images that it memorized, flagged or not.

    Args:
        n_with: whose image came out, by its distance to the training image, as an audit that is given it sees.
        n_without: with a verdict of *confirmed* or *likely* without training images.
    """

    name: str
    n_memorized: int
    n_with: int
    n_without: int


PLANTED = (
    PlantedModel("embedded", 69, 67, 66),
    PlantedModel("catalogue", 50, 48, 46),
    PlantedModel("gazette", 52, 51, 51),
    PlantedModel("faint", 11, 11, 7),
    PlantedModel("folio", 60, 58, 57),
)
"""Audits with a reference and default settings: docs/recovery.md."""
FINE_TUNED = (PlantedModel("full-0", 16, 15, 14), PlantedModel("full-1", 17, 14, 14), PlantedModel("LoRA", 3, 3, 2))
"""Fine-tunes audited against their base: docs/fine-tunes-measured.md, the ladder, "likely too"."""
_MEASURED_FPR, _MEASURED_SAMPLES = 0.01, 4


def audit_power(record: RunRecord, scores: Rows, recoveries: pa.Table) -> Power:
    """Compute what an audit could have found, from its record and tables alone."""
    counts, fpr, canaries = record.counts, record.calibration.fpr, measured_sensitivity(record)
    why = None if canaries is not None else why_unknown(record)
    sensitivity = canary_sensitivity(canaries) if canaries else None if why else planted_sensitivity(record)
    at_least = None if sensitivity is None else sensitivity.at_least
    n_images, n_untried = _n_images(recoveries), _n_untried(scores, recoveries)
    n_possible, n_prompts = counts.n_recovered + n_untried, counts.n_scored
    p_values = [p for p in iter_column(scores, "p_value") if p is not None]
    styles = reference_styles(record)
    refuting = refuting_canaries(record)
    rates = {fpr} if refuting else {fpr, min(fpr, LOW_FPR)}
    flags = {
        rate: flags_at(rate, sum(p <= rate for p in p_values), n_prompts, styles)
        for rate in sorted(rates, reverse=True)
        if supports(styles, rate)
    }
    if refuting and fpr in flags:
        flags[fpr] = flags_at_measured(flags[fpr], n_prompts, refuting)
    n_samples = _n_samples(record.settings)
    return Power(
        sensitivity=sensitivity,
        unknown_because=why,
        n_prompts=n_prompts,
        n_found=counts.n_recovered,
        n_images=n_images,
        n_untried=n_untried,
        n_samples=n_samples,
        max_share=None if at_least is None else share_bound(n_possible, n_prompts, at_least),
        max_image_share=None if at_least is None else share_bound(n_images + n_untried, n_prompts, at_least),
        max_missed=None
        if at_least is None
        else missed_bound(counts.n_recovered, n_prompts - n_untried, at_least) + n_untried,
        max_seed_probability=upper_bound(0, n_samples),
        flags=tuple(flags.values()),
        unsupported=tuple(rate for rate in sorted(rates) if rate not in flags),
        false_finds=false_finds(flags.get(fpr), counts.n_recovered, counts.n_controls, counts.n_false_recoveries),
    )


def measured_sensitivity(record: RunRecord) -> Rate | None:
    """Return how many memorized canaries the audit found; None without any, since nothing was then measured."""
    found = None if record.canaries is None else record.canaries.sensitivity
    return found if found is not None and found.of else None


def refuting_canaries(record: RunRecord) -> Rate | None:
    """Return how many canaries of no training set are flagged, if more than the stated rate explains at 95 %."""
    flagged = None if record.canaries is None else record.canaries.false_detected
    return flagged if flagged is not None and flagged.low > record.calibration.fpr else None


def false_flag_rate(record: RunRecord) -> float:
    """Return at which rate prompts are flagged by chance: the stated one, or that of canaries that refute it."""
    refuting = refuting_canaries(record)
    return record.calibration.fpr if refuting is None else refuting.share


def canary_sensitivity(found: Rate) -> Sensitivity:
    """Return the sensitivity that canaries measured in the audited model."""
    return Sensitivity("canaries", found, lower_bound(found.n, found.of), {})


def planted_sensitivity(record: RunRecord) -> Sensitivity:
    """Return the sensitivity of audits with the same evidence of the planted models, all of them together."""
    models = PLANTED if record.base is None else FINE_TUNED
    with_images = record.settings.get("train_images") is not None
    found = {m.name: rate_of(m.n_with if with_images else m.n_without, m.n_memorized) for m in models}
    n, of = sum(rate.n for rate in found.values()), sum(rate.of for rate in found.values())
    return Sensitivity("planted_models", rate_of(n, of), lower_bound(n, of), found)


def why_unknown(record: RunRecord) -> str | None:
    """Return in what this audit is weaker than those of the planted models, so that they say nothing of it."""
    calibration, styles = record.calibration, reference_styles(record)
    if record.compared_with == "unflagged":
        return "there is no reference; give --reference"
    if calibration.pooled:
        return "the reference is of another style than the prompts; give one in their style"
    if not supports(styles, calibration.fpr):
        return (
            f"{calibration.n_reference} reference prompts cannot support a false-positive rate of "
            f"{percent(calibration.fpr)}; give {reference_needed(calibration.fpr):,}, or raise --fpr"
        )
    if calibration.fpr < _MEASURED_FPR:
        return f"it is measured at a false-positive rate of {percent(_MEASURED_FPR)}; give --fpr {_MEASURED_FPR:g}"
    if _n_samples(record.settings) < _MEASURED_SAMPLES:
        return f"it is measured with {_MEASURED_SAMPLES} samples a prompt; give --samples {_MEASURED_SAMPLES}"
    return None


def reference_styles(record: RunRecord) -> Sequence[StyleSize]:
    """Return the sizes of the styles that the reference has."""
    styles = (style for style in record.calibration.styles if style.on_reference)
    return [StyleSize(style.n_calibrating, style.n_candidates) for style in styles]


def _n_samples(settings: Mapping[str, object]) -> int:
    n = settings.get("n_samples")
    return n if isinstance(n, int) and n > 0 else 0


def _n_untried(scores: Rows, recoveries: pa.Table) -> int:
    flagged = {row["prompt_id"] for row in iter_rows(scores, ["prompt_id", "flagged"]) if row["flagged"]}
    return len(flagged - set(recoveries["prompt_id"].to_pylist()))


def _n_images(recoveries: pa.Table) -> int:
    """Count distinct images of all prompts but controls, confirmed or likely."""
    rows = recoveries.select(["finding_id", "is_control", "verdict"]).to_pylist()
    return len({row["finding_id"] for row in rows if not row["is_control"] and row["verdict"] != "not_shown"} - {None})
