"""The plan of an audit, as `flashbulb validate` prints it: inputs, sites, evaluations, time and disk space."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from flashbulb.reports.tables.record_files import Count
from flashbulb.reports.tables.run_record import ModelIdentity
from flashbulb.reports.views.passed_over import PassedOver, passed_over_line
from flashbulb.reports.views.text import visible_text

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Range(Generic[Number]):
    """Bounds of a number; it is exact if they are equal."""

    low: Number
    high: Number

    def __str__(self) -> str:
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"


@dataclass(frozen=True, slots=True)
class PlannedPrompts:
    """The counts of one prompt file; `n_truncated` prompts are cut by the tokenizer.

    `n_prompts` of its `n_distinct` distinct prompts are used: all, unless fewer are drawn.
    """

    source: str
    n_rows: Count
    n_empty: Count
    n_duplicates: Count
    n_distinct: Count
    n_prompts: Count
    n_truncated: Count


@dataclass(frozen=True, slots=True)
class PlannedSites:
    """The sites of one kind that the audit would record."""

    kind: str
    n_sites: Count
    n_neurons: Count


@dataclass(frozen=True, slots=True)
class MeasuredCall:
    """One call of the denoiser with all recording hooks, timed on the machine and device of the audit."""

    evaluations: Count
    seconds: float


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What an audit would do and what it would cost.

    Args:
        base: the model that it was fine-tuned from; None if none was given.
        family: of the model.
        not_offered: commands and strategies that do not run on models of this family yet.
        reference_recorded: the reference comes from a saved calibration and costs nothing.
        n_training_images: None if none were given.
        passed_over: what their source holds beside them.
        n_flagged: prompts that recovery would try: at least those expected by chance at the stated false-positive rate,
            at most all that the settings allow.
        evaluations, seconds: by stage.
        bytes_of_activations, bytes_of_pictures: upper bounds of the disk space.
        free_bytes: free disk space at `out`.
        memory_of_weights: bytes.
        memory_at_peak: bytes on the device during the measured call; None on a CPU.
        out, out_status: the run directory, and the status of the audit in it; None if there is none.
        starts_over: the audit in `out` would be deleted first.
    """

    model: ModelIdentity
    base: ModelIdentity | None
    family: str
    not_offered: tuple[str, ...]
    dtype: str
    device: str
    prompts: PlannedPrompts
    reference: PlannedPrompts | None
    reference_recorded: bool
    n_training_images: int | None
    passed_over: tuple[PassedOver, ...]
    sites: tuple[PlannedSites, ...]
    detectors: tuple[str, ...]
    strategies: tuple[str, ...]
    stages: tuple[str, ...]
    n_flagged: Range[int]
    evaluations: Mapping[str, Range[int]]
    seconds: Mapping[str, Range[float]]
    measured: MeasuredCall
    bytes_of_activations: int
    bytes_of_pictures: int
    free_bytes: int
    memory_of_weights: int
    memory_at_peak: int | None
    out: str
    out_status: str | None
    starts_over: bool


def plan_lines(plan: AuditPlan) -> list[str]:
    """Return the plan as lines of two columns; names of files and models are untrusted text."""
    rows = list(_inputs(plan)) + list(_work(plan)) + list(_place(plan))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {visible_text(text, 1000)}" for name, text in rows]


def offer_line(family: str, not_offered: Sequence[str]) -> str:
    """Return the family of a model, and what does not run on it yet."""
    if not not_offered:
        return family
    return (
        f"{family}: prompts are recorded, flagged and sampled, which no model with known memories has shown to find "
        f"them yet; not offered yet: {', '.join(not_offered)}"
    )


def _inputs(plan: AuditPlan) -> Iterator[tuple[str, str]]:
    yield "model", f"{plan.model.name} ({plan.model.fingerprint}, {plan.dtype} on {plan.device})"
    if plan.base is not None:
        yield "base", f"{plan.base.name} ({plan.base.fingerprint})"
    yield "family", offer_line(plan.family, plan.not_offered)
    yield "prompts", _prompts(plan.prompts)
    if plan.reference is None:
        yield "reference", "none: calibrated on the candidates, assuming that few of them are memorized"
    else:
        yield "reference", _prompts(plan.reference) + (", already recorded" if plan.reference_recorded else "")
    images = plan.n_training_images
    yield "training images", "none given" if images is None else f"{images:,}"
    if plan.passed_over:
        yield "", f"not compared: {passed_over_line(plan.passed_over)}"
    for sites in plan.sites:
        yield "sites", f"{sites.kind}: {sites.n_sites} sites, {sites.n_neurons:,} neurons"
    yield "detectors", ", ".join(plan.detectors) or "none but the spike scores"


def _prompts(prompts: PlannedPrompts) -> str:
    drawn = "" if prompts.n_prompts == prompts.n_distinct else f"{prompts.n_prompts:,} drawn at random from "
    return (
        f"{prompts.source}: {drawn}{prompts.n_distinct:,} distinct prompts in {prompts.n_rows:,} rows, "
        f"{prompts.n_empty:,} "
        f"empty, {prompts.n_duplicates:,} duplicates, {prompts.n_truncated:,} cut by the tokenizer"
    )


def _work(plan: AuditPlan) -> Iterator[tuple[str, str]]:
    yield "stages", ", ".join(plan.stages)
    for stage, evaluations in plan.evaluations.items():
        yield stage, f"{evaluations} UE, about {_time(plan.seconds[stage])}"
    prompts = "flagged prompt" if plan.n_flagged.high == 1 else "flagged prompts"
    yield "", f"for {plan.n_flagged} {prompts} and as many controls, with {', '.join(plan.strategies)}:"
    yield "", "from the number expected by chance, only sampled, to all allowed, with every strategy"
    measured = plan.measured
    yield "time", f"extrapolated from {measured.evaluations} UE that took {measured.seconds:.2f} s"


def _place(plan: AuditPlan) -> Iterator[tuple[str, str]]:
    activations, images = plan.bytes_of_activations, plan.bytes_of_pictures
    scarce = ", which may not be enough" if activations + images > plan.free_bytes else ""
    yield "disk", f"up to {_size(activations)} of activations and {_size(images)} of images"
    yield "", f"{_size(plan.free_bytes)} free{scarce}"
    peak = "" if plan.memory_at_peak is None else f", {_size(plan.memory_at_peak)} at the peak of a call"
    yield "memory", f"weights {_size(plan.memory_of_weights)}{peak}"
    yield "out", f"{plan.out} {_out_state(plan)}"


def _out_state(plan: AuditPlan) -> str:
    if plan.out_status is None:
        return "would be created"
    if plan.starts_over:
        return f"holds an audit (status {plan.out_status}), which --force would delete"
    return f"holds this audit (status {plan.out_status}), which would be resumed"


def _time(seconds: Range[float]) -> str:
    low, high = _duration(seconds.low), _duration(seconds.high)
    return low if low == high else f"{low} to {high}"


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(n_bytes: float) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes / 2**10:.1f} KiB"
