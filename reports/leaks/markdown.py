"""The images that leak and the next steps as sections of a Markdown page."""

from collections.abc import Sequence

from flashbulb.reports.bounds.replication import replication_text
from flashbulb.reports.leaks.images import LeakedImage, leak_counts
from flashbulb.reports.leaks.next_steps import Step
from flashbulb.reports.views.markdown_parts import MAX_ROWS, code, table
from flashbulb.reports.views.text import markdown_code

_HEADER = ("image", "similarity", "near-duplicates", "prompts", "first prompt", "p", "recovery")


def leaks_markdown(leaks: Sequence[LeakedImage]) -> list[str]:
    """Return the section on images that came back; empty without any."""
    if not leaks:
        return []
    n_more = len(leaks) - MAX_ROWS
    more = ["", f"{n_more} more are not listed here."] if n_more > 0 else []
    rows = table(_HEADER, map(_row, leaks[:MAX_ROWS]))
    counts = leak_counts(leaks)
    return ["## What leaked", "", f"{counts[:1].upper()}{counts[1:]}.", "", *rows, *more]


def _row(leak: LeakedImage) -> tuple[str, ...]:
    nearest, often = leak.nearest, leak.replication
    n_near = leak.copied.near_duplicates if leak.copied else None
    return (
        code(leak.name),
        f"{nearest.similarity:.2f}" if nearest else "",
        "" if n_near is None else str(n_near),
        str(leak.n_prompts),
        code(leak.findings[0].location),
        replication_text(often) if often else "",
        leak.verdict + (", waived" if leak.is_waived else ""),
    )


def steps_markdown(steps: Sequence[Step], run: str) -> list[str]:
    """Return the section on next steps; empty without any."""
    if not steps:
        return []
    named = [step.of_run(run) for step in steps]
    lines = [
        line
        for number, step in enumerate(named, 1)
        for line in (
            f"{number}. {_text(step.text, run)}",
            *(f"   - {markdown_code(command, 2000)}" for command in step.commands),
        )
    ]
    return ["## Next steps", "", *lines]


def _text(text: str, run: str) -> str:
    """Return a sentence of ours; as code if the name of its run directory could be markup."""
    plain = all(character.isalnum() or character in "./_-:" for character in run) and not run.startswith("http")
    return text if plain and "__" not in run else code(text)
