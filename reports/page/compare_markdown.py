"""`compare.md`: what changed from a base to a fine-tune, as a table, for places that show no HTML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flashbulb.reports.page.compare import HOW_TO_READ, limits_of
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.tables.compare import (
    COMPARE_FILE,
    COMPARE_MARKDOWN,
    COMPARE_PAGE,
    Comparison,
    PromptComparison,
    comparison_sentences,
)
from flashbulb.reports.tables.files import write_text
from flashbulb.reports.views.markdown_parts import MAX_ROWS, code, page, pairs, sentence, table
from flashbulb.reports.views.text import format_location, markdown_code

_HEADER = ("prompt", "distance", "seed agreement", "distance of seeds", "copies")


def write_comparison_markdown(directory: Path, compared: Comparison) -> None:
    """Write `compare.md`, completely or not at all."""
    record = compared.record
    labels = Labels(redact=bool(record.settings["redact_prompts"]), page=directory / COMPARE_MARKDOWN)
    sections = (
        _head(compared, labels),
        ["## Outcome", "", *(f"- {sentence(text)}" for text in comparison_sentences(compared))],
        _prompts(compared, labels),
        ["## How to read it", "", *(f"- {text}" for text in HOW_TO_READ[1:])],
        ["## What this does not prove", "", *(f"- {text}" for text in limits_of(compared))],
        ["## Cost", "", *table(("model", "denoiser evaluations"), _costs(compared))],
        pairs("Settings", {name: labels.setting(value) for name, value in record.settings.items()}),
        pairs("Versions", record.versions),
    )
    write_text(directory / COMPARE_MARKDOWN, page(*sections))


def _head(compared: Comparison, labels: Labels) -> list[str]:
    record = compared.record
    return [
        f"# {code(labels.setting(record.model.name))} compared with its base",
        "",
        f"Base {code(labels.setting(record.base.name))}, fingerprint {code(record.base.fingerprint)}; fine-tune of "
        f"fingerprint {code(record.model.fingerprint)}. Both were sampled with the same prompts, "
        f"seeds, initial noise, steps and guidance; `{COMPARE_PAGE}` shows the images.",
    ]


def _prompts(compared: Comparison, labels: Labels) -> list[str]:
    more = len(compared.prompts) - MAX_ROWS
    rows = (tuple(_cells(prompt, labels)) for prompt in compared.prompts[:MAX_ROWS])
    return [
        "## Prompts",
        "",
        *table(_HEADER, rows),
        *(["", f"{more} more prompts are in `{COMPARE_FILE}`."] if more > 0 else []),
    ]


def _cells(prompt: PromptComparison, labels: Labels) -> Iterator[str]:
    base, finetune = prompt.base, prompt.finetune
    name = markdown_code(labels.prompt(prompt.prompt, format_location(prompt.source_file, prompt.source_row)), 60)
    yield f"{name} (control)" if prompt.is_control else name
    yield f"{prompt.distance:.2f} ({min(prompt.distances):.2f} to {max(prompt.distances):.2f})"
    yield f"{base.agreement:.2f} → {finetune.agreement:.2f}"
    yield f"{base.seed_distance:.3f} → {finetune.seed_distance:.3f}"
    yield f"{base.n_copies} → {finetune.n_copies} of {len(finetune.images)}" if base.nearest else "-"


def _costs(compared: Comparison) -> list[tuple[str, str]]:
    return [(code(model), str(n)) for model, n in compared.record.evaluations.items()]
