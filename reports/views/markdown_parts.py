"""Parts of the Markdown pages: tables, costs, settings, and untrusted text that cannot become markup."""

from collections.abc import Iterable, Mapping, Sequence

from flashbulb.reports.bounds.rates import Rate
from flashbulb.reports.tables.propensity import Propensity, contrast_rows, contrast_sentences
from flashbulb.reports.tables.strata import STRATUM_HEADER, STRATUM_NOTE, Stratum, stratum_cells
from flashbulb.reports.views.text import markdown_code

MAX_ROWS = 100  # keeps a page below the 1 MiB that CI services show

HEADLINES = {
    "pass": "pass",
    "inconclusive": "inconclusive",
    "fail": "gate failed",
    "untrusted": "not to be trusted",
}
"""Title of a page, by the outcome of its verdict."""

VERDICT_MEANINGS = {
    "confirmed": "a complete training image came back. Without training images: the confidence is at least 0.9. It is "
    "the calibrated probability of a memorized image, judged from the images alone.",
    "likely": "only the part that is the same for every seed matches a training image (the kind is template), or the "
    "confidence is at least 0.5 and none of the given training images came back, or the image comes back at some seeds "
    "or with prompts that describe something else, which images of controls do not do.",
    "not shown": "no strategy that was tried brought an image back; other strategies may still do so.",
}


def page(*sections: Sequence[str]) -> str:
    """Join sections, each a list of lines; leave out empty ones."""
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def cost(evaluations: Mapping[str, int], timings: Mapping[str, float]) -> list[str]:
    """Return the section on denoiser evaluations and seconds, by stage."""
    stages = list(dict.fromkeys((*timings, *evaluations)))[:MAX_ROWS]
    rows = [
        (
            code(stage),
            str(evaluations[stage]) if stage in evaluations else "–",
            f"{timings[stage]:.1f}" if stage in timings else "–",
        )
        for stage in stages
    ]
    total = ("all", str(sum(evaluations.values())), f"{sum(timings.values()):.1f}")
    return ["## Cost", "", *table(("stage", "denoiser evaluations", "seconds"), [*rows, total])]


def strata(rows: Sequence[Stratum]) -> list[str]:
    """Return the section on rates by how often a prompt occurs in its file; empty without strata."""
    if not rows:
        return []
    cells = table(STRATUM_HEADER, map(stratum_cells, rows))
    return ["## By occurrences in the prompt file", "", STRATUM_NOTE, "", *cells]


def contrast(propensity: Propensity | None, recovered: Rate) -> list[str]:
    """Return the section on capability and propensity; empty if no ordinary prompts were sampled."""
    if propensity is None:
        return []
    lines = (line for text in contrast_sentences(propensity) for line in (text, ""))
    header = ("", "counted", "rate")
    return ["## Capability and propensity", "", *lines, *table(header, contrast_rows(propensity, recovered))]


def pairs(title: str, values: Mapping[str, object]) -> list[str]:
    """Return a section of names and values, empty if there are none."""
    rows = [(code(name), code(value)) for name, value in list(values.items())[:MAX_ROWS]]
    return [f"## {title}", "", *table(("", ""), rows)] if rows else []


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; its cells must be Markdown already."""
    lines = (header, ["---"] * len(header), *rows)
    return [f"| {' | '.join(cells)} |" for cells in lines]


def code(value: object) -> str:
    """Format a value as code, cut to 200 characters."""
    return markdown_code(str(value), 200)


def sentence(text: str) -> str:
    """Return a sentence of ours, which may quote untrusted text: unchanged if it holds no markup, as code otherwise."""
    plain = all(character.isalnum() or character in " .,:;%()/'-" for character in text)
    harmless = plain and "://" not in text and "www." not in text and 0 < len(text) <= 500
    return text if harmless else markdown_code(text, 500)
