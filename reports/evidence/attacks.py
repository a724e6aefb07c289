"""Which attacks on a model this audit was, and which it was not: every class with its protocol or the reason."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.tables.propensity import propensity_line
from flashbulb.reports.tables.recoveries import StrategyCount, count_by_strategy
from flashbulb.reports.tables.run_record import RunRecord

Status = Literal["run", "not run", "not applicable"]
_UNRECORDED = "an unrecorded number of"
_PROMPT, _GRADIENT = "black box: prompts", "white box: gradients"


class Attack(NamedTuple):
    """A class of attack.

    Args:
        access: what an attacker needs.
        account: how it was run and what it gave, or why it was not run.
    """

    name: str
    access: str
    status: Status
    account: str


class _Strategy(NamedTuple):
    """A recovery strategy as a class of attack; `protocol` is filled in with the settings of the run."""

    name: str
    access: str
    protocol: str


_STRATEGIES = {
    "sample": _Strategy(
        "Prompting with the audited captions, several seeds each",
        _PROMPT,
        "{n_samples} seeds a prompt, {sample_steps} steps, guidance {guidance_scale}.",
    ),
    "few_steps": _Strategy(
        "Prompting with many seeds in few denoising steps",
        _PROMPT,
        "The largest group of samples that are alike counts.",
    ),
    "ascend": _Strategy(
        "Gradient ascent on the prompt's embeddings",
        _GRADIENT,
        "Ascents a prompt: {ascend_restarts} at most, inside a trust region of {ascend_radius} of a token's norm. The "
        "first makes {ascend_steps} steps on the {ascend_neurons} neurons that spiked most; later ones climb the "
        "highest neurons, from the prompt and from the prompt with words left out.",
    ),
    "ascend_shortened": _Strategy(
        "Gradient ascent from some of a prompt's words",
        _GRADIENT,
        "Prompts without one to three random words are ranked by their highest neurons; the best are climbed, and what "
        "is reached is sampled with several seeds.",
    ),
    "cyclic": _Strategy(
        "Cyclic denoising of samples", "grey box: sampler", "The samples are noised in part and denoised again."
    ),
    "extrapolate": _Strategy(
        "Extrapolation from the base model through the fine-tune",
        "both models' sampler",
        "Samples are guided away from the base.",
    ),
    "known_image": _Strategy(
        "Inversion of a known training image",
        _GRADIENT + " and the image",
        "At most 50 steps on the prompt's embedding; beyond, images come out that were not trained on.",
    ),
}
_NEVER_RUN = (
    Attack(
        "Search without captions (blind discovery)",
        _GRADIENT,
        "not run",
        "No part of this run: flashbulb discover searches in a directory of its own.",
    ),
    Attack(
        "Adversarial initial noise (x_T)",
        _GRADIENT,
        "not run",
        "Noise was drawn from seeds. No strategy of this version optimizes it.",
    ),
    Attack(
        "Attribute inference",
        "model and partial records",
        "not run",
        "What the model reveals about a person beyond an image was not tested.",
    ),
    Attack(
        "Attack after an edit, an unlearning or a filter",
        "as for the edited model",
        "not applicable",
        "The weights with the stated fingerprint were audited as they are. An edited model needs its own audit.",
    ),
    Attack(
        "Reconstruction from gradients or training updates",
        "the training itself",
        "not applicable",
        "The audit reads a finished model.",
    ),
)


def attacks_of(run: CheckedRun) -> tuple[Attack, ...]:
    """Return every class: those of this run first."""
    record = run.record
    tried = {count.strategy: count for count in count_by_strategy(run.tables.recoveries)}
    attacks = [
        _screening(record),
        *_strategies(record, tried),
        _base(record),
        _ordinary(record),
        _membership(record),
        *_NEVER_RUN,
    ]
    order: tuple[Status, ...] = ("run", "not run", "not applicable")
    return tuple(sorted(attacks, key=lambda attack: order.index(attack.status)))


def _screening(record: RunRecord) -> Attack:
    counts, calibration = record.counts, record.calibration
    n_recorded = counts.n_scored - counts.n_left_out
    left_out = f" {counts.n_left_out:,} more were screened by the text side alone." if counts.n_left_out else ""
    account = (
        f"The first denoising step of {n_recorded:,} prompts from {_value(record, 'n_seeds')} seeds; "
        f"{counts.n_flagged:,} of them flagged at a stated false-positive rate of {calibration.fpr:g}, calibrated on "
        f"{count_text(calibration.n_reference, 'reference prompt')}.{left_out} It shows suspicion, no image."
    )
    return Attack("Screening of every prompt by neurons", "white box: activations", "run", account)


def _strategies(record: RunRecord, tried: Mapping[str, StrategyCount]) -> Iterator[Attack]:
    chosen = record.settings.get("strategies")
    names = chosen if isinstance(chosen, list | tuple) else ()
    for name, strategy in _STRATEGIES.items():
        if name in tried and tried[name].n_tried:
            values = defaultdict(lambda: _UNRECORDED, {key: _number(value) for key, value in record.settings.items()})
            account = f"{strategy.protocol.format_map(values)} {_outcome(tried[name])}"
            yield Attack(strategy.name, strategy.access, "run", account)
        else:
            yield Attack(strategy.name, strategy.access, *_why_not(record, name, name in names, tried))


def _outcome(count: StrategyCount) -> str:
    return (
        f"Tried on {count_text(count.n_tried, 'flagged prompt')}, {_some(count.n_shown)} of which gave an image, and "
        f"on {_controls(count)}. {count.evaluations:,} denoiser evaluations."
    )


def _controls(count: StrategyCount) -> str:
    """Count controls and those that gave an image; they are tried as far as flagged prompts gave one."""
    if not count.n_controls:
        return "no control"
    return f"{count_text(count.n_controls, 'control')}, {_some(count.n_false)} of which did"


def _some(n: int) -> str:
    return f"{n:,}" if n else "none"


def _why_not(record: RunRecord, name: str, is_chosen: bool, tried: Mapping[str, StrategyCount]) -> tuple[Status, str]:
    if name in tried:
        count = tried[name]
        controls = f"It ran on {count_text(count.n_controls, 'control')}, {_some(count.n_false)} of which gave one."
        return "not run", f"An earlier strategy had brought an image of every flagged prompt. {controls}"
    if name == "extrapolate" and record.base is None:
        return "not applicable", "No base model was given."
    if name == "known_image" and record.settings.get("train_images") is None:
        return "not applicable", "No training images were given."
    if not is_chosen:
        return "not run", "Not among the strategies of this audit."
    if tried:
        return "not run", "Chosen, but an earlier strategy settled every prompt that was tried."
    return "not run", "Chosen, but no prompt was tried."


def _base(record: RunRecord) -> Attack:
    name, access = "Comparison of a fine-tune with its base model", "white box: both models"
    if record.base is None:
        return Attack(name, access, "not applicable", "No base model was given.")
    return Attack(name, access, "run", "Scores and flags are of the difference: they say what the training added.")


def _ordinary(record: RunRecord) -> Attack:
    name, propensity = "Ordinary use: prompts sampled once each", record.propensity
    if propensity is None:
        return Attack(name, _PROMPT, "not run", "Ordinary prompts were not sampled.")
    outcome = f"{propensity_line(propensity)}."
    return Attack(name, _PROMPT, "run" if propensity.copies.of else "not run", outcome[0].upper() + outcome[1:])


def _membership(record: RunRecord) -> Attack:
    name, access = "Membership inference", "model and candidate images"
    canaries = record.canaries
    if canaries is None or canaries.privacy is None:
        return Attack(name, access, "not run", "Whether an image was trained on, extractable or not, was not tested.")
    privacy = canaries.privacy
    account = (
        "On planted canaries only, by how far their caption lowers the denoising loss: "
        f"{privacy.n_correct:,} of {privacy.n_guesses:,} guesses were right. Whether an image of the data set was "
        "trained on was not tested."
    )
    return Attack(name, access, "run", account)


def _value(record: RunRecord, key: str) -> str:
    return _number(record.settings.get(key))


def _number(value: object) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else _UNRECORDED
