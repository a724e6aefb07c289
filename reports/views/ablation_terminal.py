"""Terminal output of an ablation: the effect on every prompt, the settings, and the path of the page."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flashbulb.reports.tables.stores import as_uri
from flashbulb.reports.views.ablation import ABLATION_PAGE, AblationRecord, PromptEffect
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
    console.print(Text(f"Read {visible_text(as_uri(directory / ABLATION_PAGE), 1000)}"), soft_wrap=True)


def _facts(record: AblationRecord) -> Table:
    neurons, settings = record.neurons, record.settings
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_row("model", Text(f"{visible_text(record.model.name, 80)}  ({record.model.fingerprint})"))
    by = visible_text(str(settings.get("by")), 60)
    facts.add_row("ablated", Text(f"{neurons.n_neurons:,} neurons of {neurons.n_sites} sites, by {by}"))
    facts.add_row("seeds", f"{settings.get('n_samples')} a prompt, the same before → after")
    facts.add_row("evaluations", f"{sum(record.evaluations.values()):,} UE")
    return facts
