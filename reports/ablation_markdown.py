"""`ablation.md`: what ablating some neurons did to each prompt, on one page, with its panels."""

from collections.abc import Sequence

from reports.ablation import ABLATION_FILE, AblationRecord, BeforeAfter, PromptEffect
from reports.markdown_parts import MAX_ROWS, code, page, pairs, table
from reports.text import markdown_code

MAX_PANELS = 20
BY_MEANINGS = {
    "unconditional": "their activation for the empty prompt at the same step and position",
    "mean": "the mean activations that the file states",
    "zero": "zero",
}
_HEADER = ("prompt", "tile distance", "seed diversity", "seed agreement", "text-conditional noise")
_COLUMNS = (
    "**tile distance**: how far the picture after the ablation lies from the one before, at the same seed: root mean "
    "square difference in the worst of 4 × 4 tiles, 0 to 1. Median over seeds, with the smallest and the largest.",
    "**seed diversity**: median tile distance between two seeds of the prompt. A memorized picture returns whatever "
    "the seed, so its diversity is low; it rises where the ablation sets the prompt free.",
    "**seed agreement**: share of seeds in the largest group that shows one picture.",
    "**text-conditional noise**: norm of the difference that the prompt makes to the UNet's first prediction, against "
    "the empty prompt, mean over seeds (Wen et al., arXiv 2407.21720). It cannot be told without guidance.",
)
_LIMITS = (
    "A picture that changes shows that the neurons take part in bringing it out, not that it is stored in them.",
    "Ablating enough neurons changes any picture. Ablate as many random neurons, and prompts that are not memorized, "
    "before you conclude anything.",
    "A picture that stays away at these seeds can return with other seeds or another prompt.",
)


def ablation_markdown(record: AblationRecord, effects: Sequence[PromptEffect]) -> str:
    """Render the page; panels are shown by their paths relative to it."""
    return page(
        _head(record),
        _effects(effects),
        _panels(effects),
        ["## How to read it", "", *(f"- {column}" for column in _COLUMNS)],
        ["## What this does not prove", "", *(f"- {limit}" for limit in _LIMITS)],
        ["## Cost", "", *table(("stage", "UNet evaluations"), _costs(record))],
        pairs("Settings", {name: value for name, value in record.settings.items() if name != "prompt"}),
        pairs("Versions", record.versions),
    )


def _head(record: AblationRecord) -> list[str]:
    neurons, by = record.neurons, str(record.settings.get("by"))
    return [
        f"# Ablation: {neurons.n_neurons} neurons of {neurons.n_sites} sites",
        "",
        f"Model {code(record.model.name)}, fingerprint {code(record.model.fingerprint)}. Neurons of "
        f"{code(neurons.file)}, SHA-256 {code(neurons.sha256)}; what stood in for them: "
        f"{BY_MEANINGS.get(by, code(by))}.",
    ]


def _effects(effects: Sequence[PromptEffect]) -> list[str]:
    more = len(effects) - MAX_ROWS
    return [
        "## What changed",
        "",
        *table(_HEADER, map(_cells, effects[:MAX_ROWS])),
        *(["", f"{more} more prompts are in `{ABLATION_FILE}`."] if more > 0 else []),
    ]


def _cells(effect: PromptEffect) -> tuple[str, ...]:
    return (
        markdown_code(effect.prompt, 60),
        f"{effect.distance:.3f} ({min(effect.distances):.3f} to {max(effect.distances):.3f})",
        _change(effect.diversity, 3),
        _change(effect.agreement, 2),
        "-" if effect.noise is None else _change(effect.noise, 2),
    )


def _change(change: BeforeAfter, digits: int) -> str:
    return f"{change.before:.{digits}f} → {change.after:.{digits}f}"


def _panels(effects: Sequence[PromptEffect]) -> list[str]:
    shown = [
        line
        for effect in effects[:MAX_PANELS]
        for line in ("", markdown_code(effect.prompt, 200), "", f"![before and after]({effect.panel})")
    ]
    more = len(effects) - MAX_PANELS
    return ["## Pictures", *shown, *(["", f"Panels of {more} more prompts lie beside these."] if more > 0 else [])]


def _costs(record: AblationRecord) -> list[tuple[str, str]]:
    total = ("all", str(sum(record.evaluations.values())))
    return [*((code(stage), str(n)) for stage, n in record.evaluations.items()), total]
