"""Terminal output of a pull: the images that are out, and a summary."""

from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from flashbulb.reports.pull.markdown import control_line
from flashbulb.reports.pull.record import OUT, PULL_PAGE, PullRecord
from flashbulb.reports.views.terminal import facts_table, print_page, print_warnings
from flashbulb.reports.views.text import visible_text

MAX_LINES = 20


def print_pull(console: Console, record: PullRecord, rows: pa.Table, directory: Path) -> None:
    """Print what came out; paths are untrusted text, so control characters are made visible."""
    out = [row for row in rows.to_pylist() if row["verdict"] == OUT and not row["is_control"]]
    for row in out[:MAX_LINES]:
        line = Text("out  ", style="red")
        line.append(f"{row['n_copies']} of {row['n_samples']} samples  {visible_text(row['path'], 200)}", style="")
        console.print(line, no_wrap=True, overflow="ellipsis")
    if len(out) > MAX_LINES:
        console.print(Text(f"… and {len(out) - MAX_LINES} more", style="dim"))
    table = facts_table(record.model)
    table.add_row("images", f"{record.n_images} ranked, {record.n_tried} pulled at, {record.n_out} out")
    table.add_row("controls", control_line(record))
    parts = ", ".join(f"{name} {n:,}" for name, n in record.evaluations.items())
    table.add_row("evaluations", f"{sum(record.evaluations.values()):,} UE ({parts})")
    table.add_row("time", f"{sum(record.timings.values()):.1f} s")
    console.print(table)
    print_warnings(console, record.warnings)
    print_page(console, directory / PULL_PAGE)
