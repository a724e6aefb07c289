"""Parts of our Markdown pages: tables, costs and settings, and strangers' text that cannot become markup."""

from collections.abc import Iterable, Mapping, Sequence

from reports.text import markdown_code

MAX_ROWS = 100  # of a table of settings, so that a page stays below the 1 MiB that CI services show

HEADLINES = {"pass": "pass", "fail": "gate failed", "untrusted": "not to be trusted"}
"""Of a page, by its verdict's outcome."""

VERDICT_MEANINGS = {
    "confirmed": "a training image came back whole. Without training images: the confidence, which is the calibrated "
    "probability of a memorized picture, judged from the pictures alone, is at least 0.9.",
    "likely": "only the part that every seed gives alike is a training image's (the kind is template), or the "
    "confidence is at least 0.5 and no training image that was given came back.",
    "not shown": "no strategy that was tried brought a picture back; that proves nothing about other strategies.",
}


def page(*sections: Sequence[str]) -> str:
    """Join sections, each a list of lines; empty ones are left out."""
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def cost(evaluations: Mapping[str, int], timings: Mapping[str, float]) -> list[str]:
    """The section on UNet evaluations and seconds, by stage."""
    stages = list(dict.fromkeys((*timings, *evaluations)))[:MAX_ROWS]
    rows = [(code(stage), str(evaluations.get(stage, 0)), f"{timings.get(stage, 0.0):.1f}") for stage in stages]
    total = ("all", str(sum(evaluations.values())), f"{sum(timings.values()):.1f}")
    return ["## Cost", "", *table(("stage", "UNet evaluations", "seconds"), [*rows, total])]


def pairs(title: str, values: Mapping[str, object]) -> list[str]:
    """A section of names and values, none if there are none."""
    rows = [(code(name), code(value)) for name, value in list(values.items())[:MAX_ROWS]]
    return [f"## {title}", "", *table(("", ""), rows)] if rows else []


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; its cells are Markdown already."""
    lines = (header, ["---"] * len(header), *rows)
    return [f"| {' | '.join(cells)} |" for cells in lines]


def code(value: object) -> str:
    """A value as code, cut to 200 characters."""
    return markdown_code(str(value), 200)


def sentence(text: str) -> str:
    """Our own sentence, which may quote a name from outside: as it is if it holds no markup, else as code."""
    plain = all(character.isalnum() or character in " .,:;%()/'-" for character in text)
    harmless = plain and "://" not in text and "www." not in text and 0 < len(text) <= 500
    return text if harmless else markdown_code(text, 500)
