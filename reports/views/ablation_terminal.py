"""Terminal output of an ablation: the effect on every prompt, the settings, and the path of the page."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flashbulb.reports.views.ablation import ABLATION_PAGE, AblationRecord, PromptEffect
from flashbulb.reports.views.terminal import facts_table, print_page
from flashbulb.reports.views.text import visible_text


def print_ablation(console: Console, record: AblationRecord, effects: Sequence[PromptEffect], directory: Path) -> None:
    """Print the effect on every prompt; prompts and file names are untrusted and cannot become markup."""
    table = Table(box=box.SIMPLE_HEAD, expand=True)
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, ratio=1)
    for name in ("tile distance", "seed diversity", "seed agreement", "response norm"):
        table.add_column(name, justify="right", no_wrap=True)
    for effect in effects:
        table.add_row(
            Text(visible_text(effect.prompt, 60)),
            f"{effect.distance:.3f}",
            effect.diversity.text(3),
            effect.agreement.text(2),
            "-" if effect.response_norm is None else effect.response_norm.text(2),
        )
    console.print(table)
    console.print(_facts(record))
    print_page(console, directory / ABLATION_PAGE)


def _facts(record: AblationRecord) -> Table:
    neurons, settings = record.neurons, record.settings
    facts = facts_table(record.model)
    by = visible_text(str(settings.get("by")), 60)
    facts.add_row("ablated", Text(f"{neurons.n_neurons:,} neurons of {neurons.n_sites} sites, by {by}"))
    facts.add_row("seeds", f"{settings.get('n_samples')} a prompt, the same before → after")
    facts.add_row("evaluations", f"{sum(record.evaluations.values()):,} UE")
    return facts
