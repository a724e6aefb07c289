"""The results of one prompt as lines for a terminal; prompts, file names and other untrusted text are made visible."""

from collections.abc import Iterable, Iterator

from flashbulb.reports.bounds.replication import Replication, how_often_text
from flashbulb.reports.prompts.view import Attempt, Memory, NeuronGroup, PromptView, SpikingSite
from flashbulb.reports.tables.recoveries import is_copy_of_training
from flashbulb.reports.tables.run_record import COMPLETE
from flashbulb.reports.views.text import visible_text

N_NEURONS, N_OTHERS = 5, 10
_MAX_PROMPT = 2000  # characters
_TIERS = {0: "screened on prompt sites alone", 1: "one step of the denoiser", 2: "probed", 3: "recovery tried"}


def prompt_lines(view: PromptView) -> list[str]:
    """Format all of `view`: prompt, scores, sites, attempts, images, then groups and other prompts."""
    sections = (
        _prompt(view),
        _scores(view),
        _sites(view),
        _attempts(view),
        _memories(view),
        _images(view),
        _groups(view),
        _other_prompts(view),
    )
    return [line for section in sections for line in section]


def _prompt(view: PromptView) -> Iterator[str]:
    yield f"Prompt: {visible_text(view.prompt, _MAX_PROMPT)}"
    yield ""
    yield _row("prompt_id", view.prompt_id)
    if view.fingerprint is not None:
        yield _row("finding", f"{view.finding_number}, fingerprint {view.fingerprint}")
    more = f", {view.n_duplicates} times" if view.n_duplicates > 1 else ""
    yield _row("from", f"{view.source_file}, row {view.source_row}{more}")
    flag = "flagged" if view.flagged else "a control, not flagged" if view.is_control else "not flagged"
    yield _row("verdict", f"{flag}, severity {view.severity} ({_TIERS.get(view.tier, view.tier)})")
    if view.status != COMPLETE:
        yield _row("", f"the audit is not complete (status {view.status}): these results are preliminary")


def _scores(view: PromptView) -> Iterator[str]:
    yield _row("spike_score", _number(view.spike_score))
    yield _row("p_value", _number(view.p_value))
    yield _row("q_value", _number(view.q_value))
    for name, score in view.detectors.items():
        yield _row(name, _number(score))


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    """Return lines below a title; nothing without lines."""
    listed = [f"  {line}" for line in lines]
    return ["", title, *listed] if listed else []


def _sites(view: PromptView) -> list[str]:
    lines = (f"{visible_text(site.site, 200)}{_site_text(site)}" for site in view.sites)
    return _listed("Sites, highest |z| first: neuron (z)", lines)


def _site_text(site: SpikingSite) -> str:
    rms_z = "" if site.rms_z is None else f", rms z {site.rms_z:.2f}"
    if not site.neurons:
        return rms_z
    shown = ", ".join(
        f"{neuron.neuron}{'' if neuron.token_class == 'all' else f' {visible_text(neuron.token_class, 20)}'} "
        f"({neuron.z:+.1f})"
        for neuron in site.neurons[:N_NEURONS]
    )
    more = len(site.neurons) - N_NEURONS
    return f"{rms_z}: {shown}" + (f" and {more} more" if more > 0 else "")


def _attempts(view: PromptView) -> Iterator[str]:
    yield ""
    if not view.rungs:
        yield "Recovery was not tried."
        return
    yield "Recovery"
    for attempt in view.rungs:
        yield f"  {visible_text(_attempt_text(attempt), 1000)}"
        if attempt.nearest_image is not None:
            similarity = "" if attempt.similarity is None else f", similarity {attempt.similarity:.3f}"
            yield f"      nearest training image {visible_text(attempt.nearest_image, 1000)}{similarity}"
        if attempt.image_path is not None:
            yield f"      image {visible_text(f'{view.run}/{attempt.image_path}', 1000)}"


def _attempt_text(attempt: Attempt) -> str:
    parts = [f"{attempt.strategy} {attempt.restart}: {attempt.verdict.replace('_', ' ')}"]
    if attempt.kind is not None:
        parts.append(attempt.kind)
    if attempt.confidence is not None and not is_copy_of_training(attempt.kind, attempt.nearest_image):
        parts.append(f"confidence {attempt.confidence:.2f}")
    parts.append(f"seeds agree {attempt.seed_agreement:.2f}")
    if attempt.alike_seeds or attempt.alike_prompts:
        parts.append(f"comes back (other seeds {attempt.alike_seeds}, other prompts {attempt.alike_prompts})")
    if attempt.fixed_share is not None and attempt.mask_path is not None:
        parts.append(f"{attempt.fixed_share:.0%} fixed, mask {attempt.mask_path}")
    parts.append(f"{attempt.evaluations:,} UE")
    if attempt.finding_id is not None:
        parts.append(attempt.finding_id)
    return ", ".join(parts)


def _memories(view: PromptView) -> list[str]:
    return _listed("Memorized images that it gives", map(_memory_text, view.memories))


def _memory_text(memory: Memory) -> str:
    often = how_often_text(Replication(memory.p_hits, memory.p_samples, memory.p_low, memory.p_high))
    name = "" if memory.finding_id is None else f"{memory.finding_id}: "
    return visible_text(f"{name}{memory.verdict} by {memory.evidence}, {often}", 1000)


def _images(view: PromptView) -> list[str]:
    return _listed("Images", (visible_text(f"{view.run}/{path}", 1000) for path in view.images))


def _groups(view: PromptView) -> list[str]:
    return _listed("Groups of neurons", map(_group_text, view.groups))


def _group_text(group: NeuronGroup) -> str:
    findings = "" if group.n_findings is None else f" of {group.n_findings} findings"
    return (
        f"{visible_text(group.group_id, 40)}: {group.n_listed} of its {group.n_neurons} neurons; "
        f"{group.n_prompts} prompts{findings}, p {group.p_value:.1g}"
    )


def _other_prompts(view: PromptView) -> list[str]:
    shown, n_left = view.same_picture[:N_OTHERS], len(view.same_picture) - N_OTHERS
    lines = (f"{visible_text(other.prompt_id, 40)}  {visible_text(other.prompt, 80)}" for other in shown)
    more = [f"and {n_left} more"] if n_left > 0 else []
    return _listed("Other prompts with the same image", [*lines, *more])


def _row(name: str, text: str) -> str:
    return f"  {visible_text(name, 40):<24} {visible_text(text, 1000)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
