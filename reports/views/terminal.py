"""Terminal output: the console, the summary of an audit, and the lists of sites and detectors."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flashbulb.reports.bounds.rates import percent, rate_of, rate_text
from flashbulb.reports.power.sensitivity import false_flag_rate
from flashbulb.reports.power.sentences import false_finds_text, power_text
from flashbulb.reports.tables.canaries import CanaryRecord
from flashbulb.reports.tables.files import REPORT_FILE
from flashbulb.reports.tables.frame import frame_line
from flashbulb.reports.tables.propensity import propensity_line
from flashbulb.reports.tables.rows import Rows
from flashbulb.reports.tables.run_record import ModelIdentity, RunRecord
from flashbulb.reports.tables.stores import as_uri
from flashbulb.reports.views.canaries import HEADER, canary_rows, canary_sentences
from flashbulb.reports.views.listed_prompts import suspects_of
from flashbulb.reports.views.site_names import short_site
from flashbulb.reports.views.streams import LastingStream
from flashbulb.reports.views.text import format_location, visible_text

_MAX_NOTES = 10
_WIDTH = 120  # of output that is not a terminal
_STYLES = {"pass": "green", "inconclusive": "cyan", "fail": "red", "untrusted": "yellow"}
_HEADLINES = {
    "pass": "PASS",
    "inconclusive": "INCONCLUSIVE: this audit could have missed too much",
    "fail": "FAIL: a limit of the policy is exceeded",
    "untrusted": "NOT TO BE TRUSTED",
}

_IS_SILENT = ContextVar("is_silent", default=False)


@contextmanager
def silent() -> Iterator[None]:
    """Print no summary in this thread while open; what other threads print is left alone."""
    token = _IS_SILENT.set(True)
    try:
        yield
    finally:
        _IS_SILENT.reset(token)


class SummaryConsole(Console):
    """A console as wide as the terminal; where it cannot print, the exit code stays that of the verdict."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else _WIDTH
        out: Any = LastingStream(sys.stdout)
        super().__init__(file=out, width=width, quiet=_IS_SILENT.get(), force_jupyter=False)  # a notebook gets text


def facts_table(model: ModelIdentity) -> Table:
    """Return a table of names and values, which begins with the model."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("model", _named(model))
    return table


def _named(model: ModelIdentity) -> Text:
    return Text(f"{visible_text(model.name, 80)}  ({model.fingerprint})")


def print_warnings(console: Console, warnings: Iterable[str]) -> None:
    """Print what a reader of a result must know; warnings can quote untrusted text."""
    for warning in warnings:
        console.print(Text(f"warning: {visible_text(warning, 300)}", style="yellow"))


def print_page(console: Console, page: Path) -> None:
    """Print where the page of a result is."""
    console.print(Text(f"Read {visible_text(as_uri(page), 1000)}"), soft_wrap=True)


def print_summary(
    console: Console,
    run: RunRecord,
    directory: Path,
    scores: Rows,
    spikes: pa.Table,
    recoveries: pa.Table,
    leaks: Sequence[str],
) -> None:
    """Print what an audit found; prompts are untrusted text, so control characters are made visible.

    Args:
        leaks: lines on what leaked and what to do.
    """
    if scores.num_rows:
        console.print(_suspects(scores, spikes, recoveries, redact=run.settings.get("redact_prompts") is True))
    console.print(_counts(run))
    if run.canaries is not None:
        _print_canaries(console, run.canaries)
    print_warnings(console, run.warnings)
    for note in run.notes[:_MAX_NOTES]:
        console.print(Text(f"note: {visible_text(note, 300)}"))
    if run.verdict is not None:
        outcome = run.verdict.outcome
        reasons = "\n".join(visible_text(reason, 300) for reason in run.verdict.reasons)
        console.print(Panel(Text(reasons), title=_HEADLINES[outcome], style=_STYLES[outcome], title_align="left"))
    for line in leaks:
        console.print(Text(line), soft_wrap=True)
    print_page(console, directory / REPORT_FILE)


def _print_canaries(console: Console, canaries: CanaryRecord) -> None:
    rows = canary_rows(canaries)
    if rows:
        table = Table(box=box.SIMPLE_HEAD, title="Canaries", title_justify="left")
        for name in HEADER:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for text in canary_sentences(canaries)[1:] if rows else []:
        console.print(Text(text))


def print_sites(console: Console, sites: Sequence[tuple[str, str, str, int]]) -> None:
    """Print (kind, name, what is read, number of neurons) of every site, and the totals of each kind."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("kind", "site", "reads"):
        table.add_column(name, overflow="fold")
    table.add_column("neurons", justify="right")
    for kind, name, reads, n_neurons in sites:
        table.add_row(kind, Text(name), reads, str(n_neurons))
    console.print(table)
    for kind in dict.fromkeys(kind for kind, *_ in sites):
        n_neurons_by_site = [n for site_kind, _, _, n in sites if site_kind == kind]
        console.print(f"{kind}: {len(n_neurons_by_site)} sites, {sum(n_neurons_by_site)} neurons", highlight=False)


def print_detectors(console: Console, detectors: Sequence[tuple[str, str, str, str, str]]) -> None:
    """Print (column, what it reads, UE a prompt, runs by default, source) of every detector."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("detector", "reads", "evaluations a prompt", "by default", "source"):
        table.add_column(name, overflow="fold")
    for cells in detectors:
        table.add_row(*cells)
    console.print(table)
    console.print("n: --seeds (one denoiser evaluation each), m: --samples of a sampled prompt", highlight=False)


def _suspects(scores: Rows, spikes: pa.Table, recoveries: pa.Table, *, redact: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, title="The most suspicious prompts", title_justify="left")
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, ratio=3)
    for name, width in (("score", 12), ("q", 7), ("image", 18)):
        table.add_column(name, overflow="ellipsis", no_wrap=True, width=width)
    table.add_column("spiking sites", overflow="ellipsis", no_wrap=True, ratio=2)
    for row, recovery in suspects_of(scores, recoveries):
        table.add_row(
            Text(visible_text(format_location(row["source_file"], row["source_row"]) if redact else row["prompt"], 60)),
            f"{row['spike_score']:.2f}" + ("" if row["flagged"] else " (below)"),
            f"{row['q_value']:.1g}",
            recovery,
            Text(_spiking_sites(row["prompt_id"], spikes)),
        )
    return table


def _spiking_sites(prompt_id: str, spikes: pa.Table) -> str:
    """Name the two sites that hold most of a prompt's spiking neurons, as `site (count)`."""
    sites = [
        short_site(site)
        for site, spiking_prompt in zip(spikes["site"].to_pylist(), spikes["prompt_id"].to_pylist(), strict=True)
        if spiking_prompt == prompt_id
    ]
    return ", ".join(f"{site} ({count})" for site, count in Counter(sites).most_common(2))


def _counts(run: RunRecord) -> Table:
    counts = run.counts
    table = facts_table(run.model)
    flagged = rate_of(counts.n_flagged, counts.n_scored)
    expected = false_flag_rate(run) * counts.n_scored
    table.add_row(
        "prompts", f"{counts.n_scored:,} scored, {counts.n_empty:,} empty, {counts.n_truncated:,} cut by tokenizer"
    )
    if run.frame is not None and (frame := frame_line(run.frame)) is not None:
        table.add_row("frame", frame)
    table.add_row(
        "flagged",
        f"{counts.n_flagged} ({percent(flagged.low)} to {percent(flagged.high)}); {expected:.1f} expected by chance",
    )
    if run.base is not None:
        table.add_row("base", _named(run.base))
        table.add_row("known by the base", f"{run.counts.n_known_by_base} prompts that the base flags by its own score")
    table.add_row("high severity", f"{counts.n_high} prompts whose image came back")
    by = ", ".join(f"{strategy} {n}" for strategy, n in counts.recovered_by.items())
    table.add_row("recovered", Text(f"{counts.n_recovered} prompts" + (f" (by {visible_text(by, 200)})" if by else "")))
    table.add_row("distinct images", f"{counts.n_confirmed_pictures} confirmed")
    table.add_row("false recoveries", rate_text(run.false_recovery) if counts.n_controls else "no control was tried")
    if run.power is not None:
        table.add_row("false finds", false_finds_text(run.power))
        table.add_row("power", power_text(run.power, run.frame))
    if run.propensity is not None:
        table.add_row("propensity", propensity_line(run.propensity))
    if run.seal is not None:
        table.add_row("seal", f"sha256:{run.seal.digest}")
    return table
