"""What the report says in figures and sentences: the counts at its top, how they came about, what they do not prove."""

from typing import NamedTuple

from reports.check import CheckedRun
from reports.rates import percent, rate_of
from reports.run_record import RunRecord


class Fact(NamedTuple):
    """One count with what it is of, and what it has to be held against."""

    value: str
    label: str
    note: str


def facts_of(run: CheckedRun) -> tuple[Fact, ...]:
    """The counts that a reader looks for first."""
    counts, calibration, results = run.record.counts, run.record.calibration, run.results
    flagged = rate_of(counts.n_flagged, counts.n_scored)
    rate = run.record.false_recovery
    n_likely = len({one.picture for one in run.findings if one.verdict == "likely"})
    left_out = f", {counts.n_left_out:,} of them by their text side alone" if counts.n_left_out else ""
    return (
        Fact(
            f"{counts.n_scored:,}",
            "prompts audited",
            f"of {counts.n_prompts:,} distinct ones{left_out}; {counts.n_truncated:,} cut by the tokenizer",
        ),
        Fact(
            f"{counts.n_flagged:,}",
            "prompts flagged",
            f"{_interval(flagged.low, flagged.high)} of the prompts; by chance about "
            f"{calibration.fpr * counts.n_scored:.1f}",
        ),
        Fact(
            f"{counts.n_confirmed_pictures:,}",
            "distinct memorized pictures confirmed",
            f"{n_likely:,} more likely; {results.n_recovered:,} prompts bring a picture back",
        ),
        Fact(
            "–" if rate.of == 0 else percent(rate.n / rate.of),
            "false recoveries",
            "no control was tried"
            if rate.of == 0
            else f"{rate.n} of {rate.of} controls, {_interval(rate.low, rate.high)}",
        ),
        Fact(
            "–" if calibration.style_auc is None else f"{calibration.style_auc:.2f}",
            "what words alone tell",
            f"AUC of flagged against {run.record.compared_with} prompts without the model: 0.5 nothing, 1 all",
        ),
    )


def limits_of(checked: CheckedRun) -> tuple[str, ...]:
    """What no reader may conclude, the general limits first, then those of this run."""
    run, n_untried = checked.record, checked.results.n_untried
    return (
        "A pass is no proof of absence: only the given prompts were tried, and a memory can answer to others.",
        "Flagged neurons are evidence of recall, not the place where a picture is stored; removing them does not "
        "remove the memory.",
        f"Of clean prompts {percent(run.calibration.fpr)} are flagged by chance; a flag without a picture is a "
        "suspicion.",
        "A picture that is denoised the same from every seed can be a memory or a prompt that leaves nothing to "
        "chance; only a training image beside it decides.",
        *(
            ["No training pictures were given: whether a picture is a copy was judged from the pictures alone."]
            if run.settings.get("train_images") is None
            else []
        ),
        *([f"Recovery was not tried on {n_untried:,} of the flagged prompts."] if n_untried else []),
        *run.warnings,
    )


def method_of(run: RunRecord) -> tuple[str, ...]:
    """How the result came about, in sentences, with this run's numbers."""
    settings, calibration, counts = run.settings, run.calibration, run.counts
    source = (
        "the candidates themselves, as if memorized ones were rare among them"
        if _alone(run)
        else f"{calibration.n_reference:,} reference prompts"
    )
    by = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.recovered_by.items())
    return (
        f"Every prompt took the first denoising step from {settings.get('n_seeds')} seeds while the neurons of the "
        "text encoder's MLPs, the cross-attention and the UNet's feed-forward layers were recorded.",
        f"How neurons behave without memory was learnt from {source}: location and scale of each neuron, and the "
        "directions in which captions' styles move them, which are taken out.",
        "The spike score is the root mean square of what remains, in units of its 99th percentile among clean prompts. "
        "Prompts are judged among prompts of their style; the p-value is the share of clean prompts expected to "
        "score as high, the q-value the false-discovery rate over the set (Benjamini and Hochberg).",
        f"Prompts with a p-value of at most {calibration.fpr:g} were flagged and, with as many unflagged controls, "
        "taken up a ladder of recovery that ends at the first confirmed picture: samples, gradient ascent on the "
        "neurons that spiked, cyclic denoising." + (f" First pictures by strategy: {by}." if by else ""),
        "Confirmed means that a picture copies a training picture, or, where none were given, that the calibrated "
        "probability of a memorized picture is at least 0.9; likely, that it is at least 0.5 or that only a part "
        "matches.",
        f"In all {sum(run.evaluations.values()):,} UNet evaluations of one latent.",
    )


def _alone(run: RunRecord) -> bool:
    return run.inputs.get("reference") is None


def _interval(low: float, high: float) -> str:
    return f"{percent(low)} to {percent(high)}"
