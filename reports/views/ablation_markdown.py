"""`ablation.md`: the effect of an ablation on each prompt, on one page, with panels of images."""

from collections.abc import Sequence

from flashbulb.reports.views.ablation import ABLATION_FILE, AblationRecord, PromptEffect
from flashbulb.reports.views.markdown_parts import MAX_ROWS, code, page, pairs, table
from flashbulb.reports.views.text import markdown_code

MAX_PANELS = 20
_BY_MEANINGS = {
    "unconditional": "those for the empty prompt at the same step and position",
    "mean": "the mean activations in the file",
    "zero": "zero",
}
_HEADER = ("prompt", "tile distance", "seed diversity", "seed agreement", "response norm")
_COLUMNS = (
    "**tile distance**: how far the image after the ablation is from the one before, at the same seed. It is the root "
    "mean square difference in the worst of 4 × 4 tiles, 0 to 1; median over seeds, with smallest and largest.",
    "**seed diversity**: median tile distance between two seeds of the prompt. A memorized image comes back for every "
    "seed, so the diversity is low; it rises if the ablation suppresses the memorized image.",
    "**seed agreement**: share of seeds in the largest group that shows the same image.",
    "**response norm**: norm of the difference between the denoiser's first outputs for the prompt and for the empty "
    "prompt, mean over seeds. It is the text-conditional noise of Wen et al. (arXiv 2407.21720). It is not measured "
    "without guidance.",
)
_LIMITS = (
    "An image that changes shows that the neurons take part in recalling it, not that it is stored in them.",
    "Ablating enough neurons changes any image. Compare with as many random neurons, and with prompts that are not "
    "memorized, before you conclude anything.",
    "An image that does not appear at these seeds can appear with other seeds or another prompt.",
)


def ablation_markdown(record: AblationRecord, effects: Sequence[PromptEffect]) -> str:
    """Render the page; it refers to panels by their paths relative to the page."""
    return page(
        _head(record),
        _effects(effects),
        _panels(effects),
        ["## How to read it", "", *(f"- {column}" for column in _COLUMNS)],
        ["## What this does not prove", "", *(f"- {limit}" for limit in _LIMITS)],
        ["## Cost", "", *table(("stage", "denoiser evaluations"), _costs(record))],
        pairs("Settings", {name: value for name, value in record.settings.items() if name != "prompt"}),
        pairs("Versions", record.versions),
    )


def _head(record: AblationRecord) -> list[str]:
    neurons, by = record.neurons, str(record.settings.get("by"))
    return [
        f"# Ablation: {neurons.n_neurons} neurons of {neurons.n_sites} sites",
        "",
        f"Model {code(record.model.name)}, fingerprint {code(record.model.fingerprint)}. Neurons of "
        f"{code(neurons.file)}, SHA-256 {code(neurons.sha256)}; their activations are replaced by "
        f"{_BY_MEANINGS.get(by, code(by))}.",
    ]


def _effects(effects: Sequence[PromptEffect]) -> list[str]:
    more = len(effects) - MAX_ROWS
    return [
        "## Effects",
        "",
        *table(_HEADER, map(_cells, effects[:MAX_ROWS])),
        *(["", f"{more} more prompts are in `{ABLATION_FILE}`."] if more > 0 else []),
    ]


def _cells(effect: PromptEffect) -> tuple[str, ...]:
    return (
        markdown_code(effect.prompt, 60),
        f"{effect.distance:.3f} ({min(effect.distances):.3f} to {max(effect.distances):.3f})",
        effect.diversity.text(3),
        effect.agreement.text(2),
        "-" if effect.response_norm is None else effect.response_norm.text(2),
    )


def _panels(effects: Sequence[PromptEffect]) -> list[str]:
    shown = [
        line
        for effect in effects[:MAX_PANELS]
        for line in ("", markdown_code(effect.prompt, 200), "", f"![before and after]({effect.panel})")
    ]
    more = len(effects) - MAX_PANELS
    return [
        "## Images",
        *shown,
        *(["", f"The panels of {more} more prompts are in the same folder."] if more > 0 else []),
    ]


def _costs(record: AblationRecord) -> list[tuple[str, str]]:
    total = ("all", str(sum(record.evaluations.values())))
    return [*((code(stage), str(n)) for stage, n in record.evaluations.items()), total]
