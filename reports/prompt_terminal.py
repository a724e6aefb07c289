"""One prompt of a run in lines for a terminal; its words, file names and whatever else is a stranger's stay text."""

from collections.abc import Iterator

from reports.prompt_view import PromptView, SpikingSite, TriedRung
from reports.run_record import COMPLETE
from reports.text import visible_text

N_NEURONS, N_OTHERS = 5, 10
_LONGEST = 2000  # characters of a prompt
_TIERS = {0: "screened by the text side alone", 1: "one step of the UNet", 2: "probed", 3: "recovery tried"}


def prompt_lines(view: PromptView) -> list[str]:
    """Everything that `view` holds, in the order in which a reader asks for it."""
    sections = (_prompt(view), _scores(view), _sites(view), _rungs(view), _pictures(view), _company(view))
    return [line for section in sections for line in section]


def _prompt(view: PromptView) -> Iterator[str]:
    yield f"Prompt: {visible_text(view.prompt, _LONGEST)}"
    yield ""
    yield _row("prompt_id", view.prompt_id)
    more = f", {view.n_duplicates} times" if view.n_duplicates > 1 else ""
    yield _row("from", f"{view.source_file}, row {view.source_row}{more}")
    standing = "flagged" if view.flagged else "a control, not flagged" if view.is_control else "not flagged"
    yield _row("verdict", f"{standing}, severity {view.severity} ({_TIERS.get(view.tier, view.tier)})")
    if view.status != COMPLETE:
        yield _row("", f"the audit is not complete (status {view.status}): this is not its last word")


def _scores(view: PromptView) -> Iterator[str]:
    yield _row("spike_score", _number(view.spike_score))
    yield _row("p_value", _number(view.p_value))
    yield _row("q_value", _number(view.q_value))
    for name, score in view.detectors.items():
        yield _row(name, _number(score))


def _sites(view: PromptView) -> Iterator[str]:
    if view.sites:
        yield ""
        yield "Sites, loudest first: neuron (z)"
    for site in view.sites:
        yield f"  {visible_text(site.site, 200)}{_loudness(site)}"


def _loudness(site: SpikingSite) -> str:
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


def _rungs(view: PromptView) -> Iterator[str]:
    yield ""
    if not view.rungs:
        yield "Recovery was not tried."
        return
    yield "Recovery"
    for rung in view.rungs:
        yield f"  {visible_text(_of_rung(rung), 1000)}"
        if rung.nearest_image is not None:
            similarity = "" if rung.similarity is None else f", similarity {rung.similarity:.3f}"
            yield f"      nearest training picture {visible_text(rung.nearest_image, 1000)}{similarity}"
        if rung.image_path is not None:
            yield f"      picture {visible_text(f'{view.run}/{rung.image_path}', 1000)}"


def _of_rung(rung: TriedRung) -> str:
    parts = [f"{rung.strategy} {rung.restart}: {rung.verdict.replace('_', ' ')}"]
    if rung.kind is not None:
        parts.append(rung.kind)
    if rung.confidence is not None:
        parts.append(f"confidence {rung.confidence:.2f}")
    parts.append(f"seeds agree {rung.seed_agreement:.2f}")
    if rung.fixed_share is not None and rung.mask_path is not None:
        parts.append(f"{rung.fixed_share:.0%} fixed, mask {rung.mask_path}")
    parts.append(f"{rung.evaluations:,} UE")
    if rung.finding_id is not None:
        parts.append(rung.finding_id)
    return ", ".join(parts)


def _pictures(view: PromptView) -> Iterator[str]:
    if view.images:
        yield ""
        yield "Pictures"
    for path in view.images:
        yield f"  {visible_text(f'{view.run}/{path}', 1000)}"


def _company(view: PromptView) -> Iterator[str]:
    if view.groups:
        yield ""
        yield "Groups of neurons"
    for group in view.groups:
        findings = "" if group.n_findings is None else f" of {group.n_findings} findings"
        yield (
            f"  {visible_text(group.group_id, 40)}: {group.n_listed} of its {group.n_neurons} neurons; "
            f"{group.n_prompts} prompts{findings}, p {group.p_value:.1g}"
        )
    if view.same_picture:
        yield ""
        yield "The same picture comes from"
    for other in view.same_picture[:N_OTHERS]:
        yield f"  {visible_text(other.prompt_id, 40)}  {visible_text(other.prompt, 80)}"
    if len(view.same_picture) > N_OTHERS:
        yield f"  and {len(view.same_picture) - N_OTHERS} more"


def _row(name: str, text: str) -> str:
    return f"  {visible_text(name, 40):<24} {visible_text(text, 1000)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
