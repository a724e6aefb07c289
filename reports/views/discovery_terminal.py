"""Terminal output of a discovery: a line for each finding as it is verified, and a summary at the end."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.tables.files import SUMMARY_FILE
from flashbulb.reports.views.discovery import STOP_MEANINGS, DiscoveryRecord, Finding, FindingWords, looks_text
from flashbulb.reports.views.terminal import facts_table, print_page, print_warnings
from flashbulb.reports.views.text import visible_text

_STYLES = {"confirmed": "red", "likely": "yellow"}


def print_finding(console: Console, finding: Finding) -> None:
    """Print a finding on one line; names of images are untrusted and cannot become markup."""
    line = Text()
    line.append(f"{visible_text(finding.finding_id, 40)}  ", style="bold")
    line.append(f"{visible_text(finding.verdict, 20):<9}", style=_STYLES.get(finding.verdict, ""))
    is_copy = finding.verdict == "confirmed" and finding.nearest_image is not None  # whatever its signs alone would say
    if finding.confidence is not None and not is_copy:
        line.append(f"  confidence {finding.confidence:.2f}")
    line.append(f"  after {finding.evaluations:,} UE", style="dim")
    if finding.nearest_image is not None:
        line.append(f"  nearest {visible_text(finding.nearest_image, 200)}")
    console.print(line, no_wrap=True, overflow="ellipsis")


def print_words(console: Console, finding_id: str, words: FindingWords | None) -> None:
    """Print what a search for words found for a finding, on one line; prompts are untrusted like names of images."""
    line = Text(f"{visible_text(finding_id, 40)}  ", style="bold")
    if words is None:
        line.append("no words found", style="dim")
    else:
        line.append(f"p {words.rate.share:.2f} ({words.rate.low:.2f}-{words.rate.high:.2f})  ", style="cyan")
        line.append(f"words {visible_text(words.text, 200)}", style="")
    console.print(line, no_wrap=True, overflow="ellipsis")


def print_discovery(console: Console, discovery: DiscoveryRecord, directory: Path) -> None:
    """Print a summary of the search; its findings have been printed already."""
    spent = sum(discovery.evaluations.values())
    budget = "" if discovery.budget is None else f" of {discovery.budget:,}"
    parts = ", ".join(f"{name} {n:,}" for name, n in discovery.evaluations.items() if n)
    table = facts_table(discovery.model)
    table.add_row("findings", f"{discovery.n_confirmed} confirmed, {discovery.n_likely} likely")
    table.add_row("search", f"{count_text(discovery.n_rounds, 'round')}, {discovery.starts_text}")
    if discovery.closing.n_looked:
        table.add_row("closing looks", looks_text(discovery.closing))
    table.add_row("evaluations", f"{spent:,}{budget} UE" + (f" ({parts})" if parts else ""))
    if discovery.words_text:
        table.add_row("words", discovery.words_text)
    table.add_row("left to find", discovery.unseen_text)
    table.add_row("time", f"{sum(discovery.timings.values()):.1f} s")
    table.add_row("stopped because", STOP_MEANINGS[discovery.stopped_because])
    console.print(table)
    print_warnings(console, discovery.warnings)
    print_page(console, directory / SUMMARY_FILE)
