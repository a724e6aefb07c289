"""What an audit could have found, and how much of what it found is false, in plain sentences."""

from collections.abc import Iterator

from flashbulb.reports.bounds.power import (
    FlagsAt,
    Power,
    Sensitivity,
    conformal_band,
    reference_needed,
)
from flashbulb.reports.bounds.rates import count_text, percent, rate_text, upper_bound
from flashbulb.reports.power.sensitivity import reference_styles, refuting_canaries
from flashbulb.reports.tables.frame import Frame, bounded_prompts
from flashbulb.reports.tables.run_record import Calibration, RunRecord, StyleCalibration

_MANY_SEEDS = 64


def power_sentences(run: RunRecord) -> tuple[str, ...]:
    """Say what the audit could have found, and how many of its flags and finds are expected to be false."""
    return (*found_sentences(run), *false_sentences(run))


def found_sentences(run: RunRecord) -> tuple[str, ...]:
    """Say what the audit could have found."""
    return () if run.power is None else tuple(_found(run, run.power))


def false_sentences(run: RunRecord) -> tuple[str, ...]:
    """Say how many of the flags and finds are expected to be false."""
    return () if run.power is None else tuple(_false(run, run.power))


def power_text(power: Power, frame: Frame | None) -> str:
    """Say in one line what the audit could have excluded."""
    if power.max_share is None:
        return f"not known: {power.unknown_because}"
    prompts = bounded_prompts(frame)
    bound = (
        f"{power.max_missed:,} more of these prompts" if prompts is None else f"{percent(power.max_share)} of {prompts}"
    )
    known = (
        "" if power.sensitivity and power.sensitivity.source == "canaries" else ", if as sensitive as on planted models"
    )
    return f"at most {bound} can be extractable (95 % bound{known})"


def false_finds_text(power: Power) -> str:
    """Say in one line how many of the prompts whose image came back are expected to be false flags."""
    false = power.false_finds
    if false is None:
        return "not known" if power.n_found else "no image came back"
    return (
        f"{false.n_expected:.2g} of {power.n_found} expected ({percent(false.fdr)}, 95 % interval "
        f"{percent(false.low)} to {percent(false.high)})"
    )


def band_text(style: StyleCalibration, fpr: float) -> str:
    """Say where the true false-positive rate of a style's threshold lies in 90 % of references of its size."""
    band = conformal_band(style.n_calibrating, fpr) if style.on_reference else None
    return "not known" if band is None else f"{percent(band.low)} to {percent(band.high)}"


def _found(run: RunRecord, power: Power) -> Iterator[str]:
    if power.sensitivity is None:
        yield (
            f"How many memorized images this audit would have missed is not known: {power.unknown_because}. No bound "
            "on what it missed follows."
        )
    else:
        yield _sensitivity(power.sensitivity, has_canaries=run.canaries is not None)
        untried = f"; recovery was not tried on {count_text(power.n_untried, 'flagged prompt')}" * bool(power.n_untried)
        yield (
            f"The image of {power.n_found:,} of {count_text(power.n_prompts, 'prompt')} came back{untried}. "
            f"Where recovery is tried on every flagged prompt, at least {percent(power.sensitivity.at_least)} of "
            "memorized images come back."
        )
        yield from _shares(power, run.frame)
        yield (
            f"Of these {power.n_prompts:,} prompts themselves, at most {power.max_missed:,} may be extractable without "
            "having been found."
        )
    yield (
        f"A prompt whose {power.n_samples} samples show nothing can still give its image with a probability of up to "
        f"{percent(power.max_seed_probability)} per seed ({percent(upper_bound(0, _MANY_SEEDS))} with "
        f"{_MANY_SEEDS} samples)."
    )


def _shares(power: Power, frame: Frame | None) -> Iterator[str]:
    prompts = bounded_prompts(frame)
    if power.max_share is None or power.max_image_share is None or prompts is None:
        yield "The prompts were chosen on suspicion, so no bound on a share follows."
        return
    sampled = "" if frame is not None and frame.kind == "random" else ", if these are a random sample of them"
    yield (
        f"At 95 % confidence, at most {percent(power.max_share)} of {prompts} are extractable by this "
        f"protocol{sampled}."
    )
    if power.n_images != power.n_found:
        yield (
            f"Counted by distinct images, of which {power.n_images:,} came back, it is at most "
            f"{percent(power.max_image_share)}."
        )


def _sensitivity(sensitivity: Sensitivity, *, has_canaries: bool) -> str:
    if sensitivity.source == "canaries":
        return (
            f"The sensitivity was measured in this model: of its canaries whose image is among their plain samples, "
            f"the audit found {rate_text(sensitivity.found)}."
        )
    shares = [rate.share for rate in sensitivity.by_model.values()]
    measured = "Its canaries do not measure it." if has_canaries else "Canaries in the training set would measure it."
    return (
        f"Of the images that planted models memorized, such audits brought back {rate_text(sensitivity.found)}, by "
        f"model {percent(min(shares))} to {percent(max(shares))}. These are Flashbulb's own models, not this one: the "
        f"bounds hold only if its memories are as easy to find. {measured}"
    )


def _false(run: RunRecord, power: Power) -> Iterator[str]:
    yield from (_flags(flags, power) for flags in power.flags)
    if (refuting := refuting_canaries(run)) is not None:
        yield (
            f"The stated false-positive rate of {percent(run.calibration.fpr)} does not hold for such captions: of the "
            f"canaries and twins that are in no training set, {rate_text(refuting)} are flagged. Flags and finds are "
            "expected to be false at that rate."
        )
    yield from (_unsupported(fpr, run) for fpr in power.unsupported)
    yield from _bands(run.calibration)
    if (false := power.false_finds) is not None:
        yield (
            f"Of the {count_text(power.n_found, 'prompt')} whose image came back, {false.n_expected:.2g} are expected "
            f"to be false, flagged by chance and giving an image as controls do: {percent(false.fdr)}, 95 % interval "
            f"{percent(false.low)} to {percent(false.high)}, from the expected false flags and the controls' rate of "
            "false recoveries."
        )


def _flags(flags: FlagsAt, power: Power) -> str:
    share = "" if flags.fdr is None else f", an expected false-discovery rate of {percent(flags.fdr)}"
    return (
        f"At a false-positive rate of {percent(flags.fpr)}, {flags.n_flagged:,} of {power.n_prompts:,} prompts are "
        f"flagged; {flags.n_expected:.1f} are expected by chance{share}."
    )


def _unsupported(fpr: float, run: RunRecord) -> str:
    rate, styles = percent(fpr), reference_styles(run)
    if not styles:
        return f"Without a reference, a false-positive rate of {rate} is an assumption, and nothing is stated at it."
    n = sum(style.n_reference for style in styles)
    given = f"{n:,} reference prompts in {count_text(len(styles), 'style')} cannot support"
    needed = f"{reference_needed(fpr):,} of one style can"
    return f"{given} a false-positive rate of {rate}, so nothing is stated at it; {needed}."


def _bands(calibration: Calibration) -> Iterator[str]:
    by_size = {style.n_calibrating: style for style in calibration.styles if style.on_reference}
    for n, style in sorted(by_size.items()):
        if conformal_band(n, calibration.fpr) is not None:
            yield (
                f"With {n:,} reference prompts of a style, a stated rate of {percent(calibration.fpr)} is truly "
                f"{band_text(style, calibration.fpr)} (90 % of references of this size)."
            )
