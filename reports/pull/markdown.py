"""`pull.md`: which of the given images came out of the model, and what that was held against."""

from collections.abc import Mapping

import pyarrow as pa

from flashbulb.reports.bounds.rates import count_text, percent, rate_text
from flashbulb.reports.pull.record import OUT, PULL_FILE, PullRecord
from flashbulb.reports.views.markdown_parts import MAX_ROWS, code, cost, page, pairs, sentence, table

_LIMITS = (
    "An image that did not come out is no proof of absence: another attack, more steps or its caption may show it.",
    "An image is out if samples of what a short ascent found replicate it, with seeds that the ascent never saw. "
    "Nobody has to know such a prompt in words.",
    "The share of never-trained images that come out holds for images of the same kind as the controls.",
    "A pull neither passes nor fails: it is no audit of prompts, and `flashbulb gate` refuses it. "
    "Its own `--gate` exits with 1 if an image is out.",
)


def pull_markdown(record: PullRecord, rows: pa.Table) -> str:
    """Render the page; `rows` is the table of the pull."""
    return page(
        [
            f"# Pull: {record.n_out} of {count_text(record.n_images, 'image')} out",
            "",
            f"Model {code(record.model.name)}, fingerprint {code(record.model.fingerprint)}.",
        ],
        [f"> {sentence(warning)}" for warning in record.warnings],
        _limits(record),
        _images(rows, record),
        ["## What this does not prove", "", *(f"- {limit}" for limit in _LIMITS)],
        cost(record.evaluations, record.timings),
        pairs("Settings", record.settings),
        pairs("Versions", record.versions),
    )


def control_line(record: PullRecord) -> str:
    """Return what the threshold rests on."""
    if record.controls_out.of == 0:
        return "none; the threshold was chosen on planted models"
    shown = "" if record.is_shown else "; too few to show the share of never-trained images that come out"
    return f"{rate_text(record.controls_out)} above the threshold that they set{shown}"


def _limits(record: PullRecord) -> list[str]:
    rows = [
        ("images ranked", f"{record.n_images}"),
        ("images pulled at", f"{record.n_tried}"),
        ("not pulled at: beyond the budget", f"{record.n_unpaid}"),
        ("not pulled at: no more familiar than half of the controls", f"{_n_unfamiliar(record)}"),
        ("out", f"{record.n_out} ({percent(record.n_out / record.n_images)})"),
        ("threshold of the score", f"{record.threshold:.3g}"),
        ("controls", control_line(record)),
    ]
    return ["## Images", "", *table(("", ""), rows)]


def _n_unfamiliar(record: PullRecord) -> int:
    return record.n_images - record.n_tried - record.n_unpaid


def _images(rows: pa.Table, record: PullRecord) -> list[str]:
    out = [row for row in rows.to_pylist() if row["verdict"] == OUT and not row["is_control"]]
    if not out:
        return ["## Out", "", _why_none(record)]
    header = ("image", "rank", "familiarity", "replicating samples", "score", "p-value", "given back")
    more = len(out) - MAX_ROWS
    return [
        "## Out",
        "",
        *table(header, map(_cells, out[:MAX_ROWS])),
        *(["", f"{more} more are in `{PULL_FILE}`."] if more > 0 else []),
    ]


def _why_none(record: PullRecord) -> str:
    if record.n_tried:
        return "No image came out."
    if record.n_unpaid:
        return "No image was pulled at, so nothing shows whether one comes out."
    return "No image is more familiar to the model than half of the controls, so none was pulled at."


def _cells(row: Mapping[str, object]) -> tuple[str, ...]:
    p_value = row["p_value"]
    return (
        code(row["path"]),
        str(row["rank"]),
        f"{row['familiarity']:.2f}",
        f"{row['n_copies']} of {row['n_samples']}",
        f"{row['score']:.2f}",
        "-" if p_value is None else f"{p_value:.2g}",
        "-" if row["sample_path"] is None else code(row["sample_path"]),
    )
