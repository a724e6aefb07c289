"""The summary on the terminal: verdict, counts, the worst prompts with the sites where their neurons spike."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reports.files import REPORT_FILE
from reports.rates import percent, rate_of, rate_text
from reports.run_record import RunRecord
from reports.site_names import short_site
from reports.suspects import suspects_of
from reports.text import visible_text

_N_NOTES = 10
_STYLES = {"pass": "green", "fail": "red", "untrusted": "yellow"}
_HEADLINES = {"pass": "PASS", "fail": "FAIL: memorized pictures leak", "untrusted": "NOT TO BE TRUSTED"}


def print_summary(
    console: Console, run: RunRecord, directory: Path, scores: pa.Table, spikes: pa.Table, recoveries: pa.Table
) -> None:
    """Print what an audit found; prompts are strangers' text and are shown with every control character named."""
    if scores.num_rows:
        console.print(_worst_prompts(scores, spikes, recoveries))
    console.print(_counts(run))
    for warning in run.warnings:
        console.print(Text(f"warning: {visible_text(warning, 300)}", style="yellow"))
    for note in run.notes[:_N_NOTES]:
        console.print(Text(f"note: {visible_text(note, 300)}"))
    if run.verdict is not None:
        outcome = run.verdict.outcome
        reasons = "\n".join(visible_text(reason, 300) for reason in run.verdict.reasons)
        console.print(Panel(Text(reasons), title=_HEADLINES[outcome], style=_STYLES[outcome], title_align="left"))
    console.print(Text(f"Read {visible_text(str(directory / REPORT_FILE), 1000)}"), soft_wrap=True)


def print_sites(console: Console, sites: Sequence[tuple[str, str, str, int]]) -> None:
    """Print (kind, name, what is read, neurons) of every site, and the totals by kind."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("kind", "site", "reads"):
        table.add_column(name, overflow="fold")
    table.add_column("neurons", justify="right")
    for kind, name, reads, n_neurons in sites:
        table.add_row(kind, Text(name), reads, str(n_neurons))
    console.print(table)
    for kind in dict.fromkeys(kind for kind, *_ in sites):
        of_kind = [n for k, _, _, n in sites if k == kind]
        console.print(f"{kind}: {len(of_kind)} sites, {sum(of_kind)} neurons", highlight=False)


def print_detectors(console: Console, rows: Sequence[tuple[str, str, str, str, str]]) -> None:
    """Print (column, what it reads, UE a prompt, default, source) of every detector."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("detector", "reads", "evaluations a prompt", "by default", "source"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print("n: --seeds (one UNet evaluation each), m: --samples of a sampled prompt", highlight=False)


def _counts(run: RunRecord) -> Table:
    counts = run.counts
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    flagged = rate_of(counts.n_flagged, counts.n_scored)
    expected = run.calibration.fpr * counts.n_scored
    table.add_row("model", Text(f"{visible_text(run.model.name, 80)}  ({run.model.fingerprint})"))
    table.add_row("prompts", f"{counts.n_scored} scored, {counts.n_empty} empty, {counts.n_truncated} cut by tokenizer")
    table.add_row(
        "flagged",
        f"{counts.n_flagged} ({percent(flagged.low)} to {percent(flagged.high)}); {expected:.1f} expected by chance",
    )
    table.add_row("high severity", f"{counts.n_high} prompts whose picture came back")
    by = ", ".join(f"{strategy} {n}" for strategy, n in counts.recovered_by.items())
    table.add_row("recovered", Text(f"{counts.n_recovered} prompts" + (f" (by {visible_text(by, 200)})" if by else "")))
    table.add_row("distinct pictures", f"{counts.n_confirmed_pictures} confirmed")
    table.add_row("false recoveries", rate_text(run.false_recovery) if counts.n_controls else "no control was tried")
    return table


def _worst_prompts(scores: pa.Table, spikes: pa.Table, recoveries: pa.Table) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, title="The most suspicious prompts", title_justify="left")
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, ratio=3)
    for name, width in (("score", 12), ("q", 7), ("picture", 18)):
        table.add_column(name, overflow="ellipsis", no_wrap=True, width=width)
    table.add_column("spiking sites", overflow="ellipsis", no_wrap=True, ratio=2)
    for row, picture in suspects_of(scores, recoveries):
        table.add_row(
            Text(visible_text(row["prompt"], 60)),
            f"{row['spike_score']:.2f}" + ("" if row["flagged"] else " (below)"),
            f"{row['q_value']:.1g}",
            picture,
            Text(_sites_of(row["prompt_id"], spikes)),
        )
    return table


def _sites_of(prompt_id: str, spikes: pa.Table) -> str:
    """The two sites that hold most of a prompt's spiking neurons, as `site (count)`."""
    of_prompt = [
        short_site(site)
        for site, owner in zip(spikes["site"].to_pylist(), spikes["prompt_id"].to_pylist(), strict=True)
        if owner == prompt_id
    ]
    return ", ".join(f"{site} ({count})" for site, count in Counter(of_prompt).most_common(2))
