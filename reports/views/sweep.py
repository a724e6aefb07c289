"""`sweep.md`, and the lines that a sweep prints on the terminal."""

from collections.abc import Iterator

from flashbulb.reports.bounds.rates import percent
from flashbulb.reports.tables.sweep import SWEEP_FIGURE, SWEEP_PAGE, Sweep, SweepRow, excess_text, share_text
from flashbulb.reports.views.markdown_parts import MAX_ROWS, code, page, pairs, sentence, table
from flashbulb.reports.views.text import fitted_text, markdown_code, visible_text

_HEADER = ("flagged", "median", "top 1 %", "confirmed images", "prompts with one", "gate")
_NAME_CELLS = 40

HOW_TO_READ = (
    "All checkpoints were audited with the same prompts, reference, seeds, false-positive rate and policy. Each is "
    "compared with its own reference.",
    "Flagged: prompts whose p-value is at most the stated false-positive rate, with the 95 % interval of their share "
    "(exact, Clopper and Pearson). That many clean prompts are expected among them by chance.",
    "Excess: how far the median and the 99th percentile of the spike scores lie above those of the reference prompts. "
    "Each score is centred and scaled by the reference of its style: by its median, and its median absolute deviation "
    "as a standard deviation. 0 is the level of clean prompts. A few copied captions move the 99th percentile, not the "
    "median.",
    "Confirmed: distinct images that copy a training image or, without training images, have a confidence of at least "
    "0.9; and the flagged prompts that gave them.",
)
LIMITS = (
    "A checkpoint that passes may still copy images that no given prompt recalls.",
    "Copying was seen first at the checkpoint that is named. It may have begun earlier than this audit can see.",
    "Every checkpoint is a test of its own. With many checkpoints, one can fail by chance; the trend tells.",
)


def sweep_lines(sweep: Sweep) -> Iterator[str]:
    """Yield a table with a line for each checkpoint; the last line names the first whose gate fails."""
    cells = [(fitted_text(row.checkpoint, _NAME_CELLS), *_cells(row)) for row in sweep.rows]
    columns = list(zip(("checkpoint", *_HEADER), *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    for line in zip(*columns, strict=True):
        name, *values = line
        padded = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
        yield "  ".join([name.ljust(widths[0]), *padded]).rstrip()
    yield ""
    yield from (visible_text(f"note: {note}", 1000) for note in sweep.notes())
    yield visible_text(f"{sweep.outcome}: {sweep.sentence()}", 1000)


def _cells(row: SweepRow) -> tuple[str, ...]:
    return (
        share_text(row),
        excess_text(row.median_excess),
        excess_text(row.top_excess),
        str(row.n_confirmed_images),
        str(row.n_confirmed_prompts),
        row.gate,
    )


def sweep_markdown(sweep: Sweep) -> str:
    """Render `sweep.md`; it refers to the figure beside it."""
    reasons = () if (first := sweep.first_failing) is None else first.reasons
    return page(
        [
            f"# Sweep: {sentence(sweep.sentence())}",
            "",
            *(f"- {sentence(reason)}" for reason in reasons),
            f"- {_inputs(sweep)}",
            *(f"- {sentence(note)}" for note in sweep.notes()),
        ],
        [f"![Curves over the checkpoints]({SWEEP_FIGURE})"],
        _checkpoints(sweep),
        ["## How to read it", "", *(f"- {text}" for text in HOW_TO_READ)],
        ["## What it does not prove", "", *(f"- {text}" for text in LIMITS)],
        pairs("Policy", {name: value for name, value in sweep.policy.items() if value is not None}),
    )


def _inputs(sweep: Sweep) -> str:
    base = f"; base {code(sweep.base)}" if sweep.base is not None else ""
    reference = code(sweep.reference) if sweep.reference is not None else "none"
    return f"Prompts {code(sweep.prompts)}; reference {reference}{base}; false-positive rate {percent(sweep.fpr)}."


def _checkpoints(sweep: Sweep) -> list[str]:
    header = (
        "checkpoint",
        sweep.unit,
        "flagged",
        "median excess",
        "excess of the top 1 %",
        "confirmed images",
        "prompts with one",
        "gate",
    )
    rows = [
        (markdown_code(row.checkpoint, 100), str(row.step), *_cells(row)[:-1], f"**{row.gate}**")
        for row in sweep.rows[:MAX_ROWS]
    ]
    more = len(sweep.rows) - MAX_ROWS
    return [
        "## Checkpoints",
        "",
        *table(header, rows),
        "",
        *([f"{more} more are in `{SWEEP_PAGE}`.", ""] if more > 0 else []),
        f"The report of each is `report.html` in the folder of its name; `{SWEEP_PAGE}` links to them.",
    ]
