"""The page's key figures, its limits and its method, in plain sentences with the numbers of the run."""

import shlex
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from flashbulb.reports.bounds.power import Power
from flashbulb.reports.bounds.rates import Rate, count_text, percent, rate_of
from flashbulb.reports.checks.findings import distinct_images
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.gate.diff import CHANGES
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.power.sensitivity import false_flag_rate
from flashbulb.reports.tables.frame import Frame, bounded_prompts, frame_sentence
from flashbulb.reports.tables.run_record import RunRecord

_SITES = {
    "text_mlp": "the text encoder's MLPs",
    "cross_k": "cross-attention keys",
    "cross_v": "cross-attention values",
    "cross_out": "cross-attention outputs",
    "feed_forward": "the denoiser's feed-forward layers",
}
_STRATEGIES = {
    "sample": "sampling",
    "few_steps": "many seeds in few steps",
    "ascend": "gradient ascent on the neurons that spiked",
    "ascend_shortened": "gradient ascent from some of the words",
    "cyclic": "cyclic denoising",
    "extrapolate": "sampling away from the base model",
    "known_image": "optimization of the prompt embedding towards a known training image",
}


class Fact(NamedTuple):
    """A key figure, what it counts, and a note that puts it in context."""

    value: str
    label: str
    note: str


_UNKNOWN = "–"


def since_baseline(report: GateReport, run: str) -> str:
    """Return how many findings changed since the baseline, or how to compare with one.

    Args:
        run: name of the run directory.
    """
    counted = Counter(judged.change for judged in report.listed if judged.change is not None)
    if not counted:
        return f"Not compared with an earlier audit: flashbulb report {run} --baseline EARLIER_RUN marks what is new."
    return f"Since the baseline: {', '.join(f'{counted[name]} {name}' for name in CHANGES if counted[name])}."


def key_facts(run: CheckedRun) -> tuple[Fact, ...]:
    """Return the figures at the top of the page; one that is not known has no tile, and a limit says so."""
    return tuple(fact for fact in _facts(run) if fact.value != _UNKNOWN)


def _facts(run: CheckedRun) -> tuple[Fact, ...]:
    counts, calibration, results = run.record.counts, run.record.calibration, run.results
    flagged, false = rate_of(counts.n_flagged, counts.n_scored), run.record.false_recovery
    n_likely = len(distinct_images(run.findings, "likely") - distinct_images(run.findings, "confirmed"))
    expected = false_flag_rate(run.record) * counts.n_scored
    flags = "expected by chance" if run.record.base is None else "expected by chance; flags say what the training added"
    screened = f", {counts.n_left_out:,} of them screened only" if counts.n_left_out else ""
    return (
        Fact(
            f"{counts.n_scored:,}",
            "prompts audited",
            f"of {count_text(counts.n_prompts, 'distinct prompt')}{_drawn(run.record)}{screened}; "
            f"{counts.n_truncated:,} truncated by the tokenizer",
        ),
        Fact(
            f"{counts.n_flagged:,}",
            "prompts flagged",
            f"95 % interval {_interval(flagged)} of the prompts; about {expected:.1f} {flags}",
        ),
        Fact(
            f"{counts.n_confirmed_pictures:,}",
            "distinct memorized images confirmed",
            f"and {n_likely:,} likely; an image was recovered from {count_text(results.n_recovered, 'prompt')}",
        ),
        Fact(
            _UNKNOWN if false.of == 0 else percent(false.share),
            "false recoveries",
            f"from {false.n} of {false.of} controls, 95 % interval {_interval(false)}",
        ),
        *([] if run.record.power is None else [_power_fact(run.record.power, run.record.frame)]),
        Fact(
            _UNKNOWN if calibration.style_auc is None else f"{calibration.style_auc:.2f}",
            "text-only AUC",
            f"how well the text alone separates flagged from {run.record.compared_with} prompts: 0.5 not at all, "
            "1 completely",
        ),
    )


def _power_fact(power: Power, frame: Frame | None) -> Fact:
    label, prompts = "extractable prompts at most", bounded_prompts(frame)
    if power.max_share is None:
        return Fact(_UNKNOWN, label, f"not known: {power.unknown_because}")
    canaries = power.sensitivity is not None and power.sensitivity.source == "canaries"
    basis = "canaries in this model" if canaries else "planted models, not of this one"
    terms = f"at 95 %; with the sensitivity of {basis}"
    if prompts is None:
        return Fact(
            f"{power.max_missed:,}", "extractable prompts missed at most", f"of these targeted prompts, {terms}"
        )
    return Fact(percent(power.max_share), label, f"of {prompts}, {terms}")


def _drawn(run: RunRecord) -> str:
    frame = run.frame
    return "" if frame is None or frame.seed is None else f" drawn at random from the {frame.n_file:,} of the file"


def limit_sentences(run: CheckedRun) -> tuple[str, ...]:
    """Return what a reader must not conclude: limits of every audit first, then those of this run."""
    record, n_untried = run.record, run.results.n_untried
    return (
        "A pass does not prove that the model memorized nothing. Only the given prompts were tried; other prompts may "
        "reproduce a memorized image.",
        "Flagged neurons are evidence that the model recalls an image. They are not where the image is stored, and "
        "removing them does not remove it.",
        f"By chance, {percent(record.calibration.fpr)} of prompts that are not memorized are flagged. A flag without a "
        "recovered image is only a suspicion.",
        "An image that is the same for every seed may be memorized, or its prompt may leave nothing to chance. Only a "
        "comparison with the training image can decide.",
        *(
            ["No training images were given. Whether an image is a copy was judged from the generated images alone."]
            if record.settings.get("train_images") is None
            else []
        ),
        *(
            ["No control was tried, so how often recovery gives an image that is not memorized is not known."]
            if not record.false_recovery.of
            else []
        ),
        *([f"Recovery was not tried on {n_untried:,} of the flagged prompts."] if n_untried else []),
        frame_sentence(record.frame),
        *record.warnings,
    )


def method_sentences(run: RunRecord) -> tuple[str, ...]:
    """Describe how the result was obtained, with the numbers of this run."""
    settings, calibration, counts = run.settings, run.calibration, run.counts
    source = f"{calibration.n_reference:,} reference prompts"
    if run.compared_with == "unflagged":
        source = "the candidate prompts themselves, on the assumption that few of them are memorized"
    elif calibration.pooled:
        source += " and the candidate prompts, because the two sets differ in style"
    prompts = "each prompt that screening did not leave out" if counts.n_left_out else "each prompt"
    n_seeds = settings.get("n_seeds")
    seeds = count_text(n_seeds, "seed") if isinstance(n_seeds, int) else "an unrecorded number of seeds"
    by_strategy = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.recovered_by.items())
    return (
        f"The first denoising step of {prompts} was run from {seeds}. The activations of these "
        f"neurons were recorded: {_in_words(settings.get('sites'), _SITES)}.",
        f"The baseline was fitted on {source}. It consists of the location and scale of each neuron, and of the "
        "directions in which the style of a prompt moves the neurons. These directions are removed.",
        "The spike score is the root mean square of the remaining z-scores, in units of its 99th percentile among "
        "prompts that are not memorized. Each prompt is compared with prompts of its own style. The p-value is the "
        "expected share of prompts that are not memorized but score at least as high. The q-value is the "
        "false-discovery rate over the set (Benjamini and Hochberg).",
        *_base_sentences(run),
        f"Prompts with a p-value of at most {calibration.fpr:g} were flagged. Recovery was tried on flagged prompts, "
        "with these strategies in turn until an image was confirmed: "
        f"{_in_words(settings.get('strategies'), _STRATEGIES)}. As many unflagged controls were tried in the same way, "
        "as far as a strategy had given an image of a flagged prompt."
        + (f" Prompts by the strategy that first gave an image: {by_strategy}." if by_strategy else ""),
        "A recovered image is confirmed if it copies a training image. Without training images, it is confirmed if the "
        "calibrated probability that it is memorized is at least 0.9. It is likely if that probability is at least "
        "0.5, or if only a part of it matches a training image.",
        f"The audit used {sum(run.evaluations.values()):,} denoiser evaluations in total, each of one latent.",
    )


def _base_sentences(run: RunRecord) -> list[str]:
    if run.base is None:
        return []
    return [
        "The same prompts were recorded on the base model. Each model is compared with a baseline of its own, and the "
        "spike score of the base is subtracted: scores, p-values and flags speak of the difference. The z of a neuron, "
        "by which recovery chooses what to climb, is likewise that of the model minus that of the base.",
        f"The base flags {count_text(run.counts.n_known_by_base or 0, 'prompt')} by its own score at the same rate.",
    ]


def _in_words(names: object, descriptions: Mapping[str, str]) -> str:
    """Describe the sites or strategies that a setting lists."""
    listed = names if isinstance(names, list | tuple) else ()
    return ", ".join(descriptions.get(str(name), str(name)) for name in listed) or "not recorded"


def _interval(rate: Rate) -> str:
    return f"{percent(rate.low)} to {percent(rate.high)}"


def command_line(run: RunRecord, labels: Labels) -> str:
    """Return the command line of the audit: the options that differ from their defaults, without folders of paths."""
    words = ["flashbulb audit"]
    for name, option in run.options.items():
        value = run.settings.get(name)
        if value is True:
            words.append(option)
        elif value is False:
            words.append(option.replace("--", "--no-", 1))
        elif value is not None:
            for part in value if isinstance(value, list | tuple) else (value,):
                words.append(f"{option} {shlex.quote(labels.setting(part))}")
    return " ".join(words)
