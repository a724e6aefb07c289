"""`sweep.html`: the checkpoints of a training in one file that needs no network and no script."""

from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from flashbulb.reports.bounds.rates import count_text, percent
from flashbulb.reports.drawings.svg import svg_text
from flashbulb.reports.figures.sweep import sweep_figure
from flashbulb.reports.page.facts import Fact
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.template import csp_hash, page_style, template_environment
from flashbulb.reports.tables.files import REPORT_FILE, write_text
from flashbulb.reports.tables.sweep import Sweep, SweepRow, excess_text, share_text
from flashbulb.reports.views.sweep import HOW_TO_READ, LIMITS
from flashbulb.reports.views.text import visible_text

_NAME = 60  # characters of a checkpoint's name


def write_sweep_page(path: Path, sweep: Sweep) -> None:
    """Write the page, completely or not at all; its links are relative to its folder."""
    write_text(path, sweep_html(sweep))


def sweep_html(sweep: Sweep) -> str:
    """Render the page."""
    style, sentence = page_style(), sweep.sentence()
    first = sweep.first_failing
    labels = Labels(redact=False, page=Path())
    figure = sweep_svg(sweep, alt=f"Curves over the checkpoints: {sentence}.")
    return (
        template_environment()
        .get_template("sweep.html.j2")
        .render(
            outcome="fail" if first is not None else sweep.outcome,
            headline=visible_text(sentence[0].upper() + sentence[1:], 300),
            reasons=first.reasons if first is not None else (),
            facts=_facts(sweep),
            figure=Markup(figure),
            unit=sweep.unit,
            rows=[_cells(row, row is first) for row in sweep.rows],
            how_to_read=HOW_TO_READ,
            limits=(*(visible_text(f"{note}.", 300) for note in sweep.notes()), *LIMITS),
            inputs={"prompts": sweep.prompts, "reference": sweep.reference, "base": sweep.base},
            policy={name: value for name, value in sweep.policy.items() if value is not None},
            labels=labels,
            style=Markup(style),
            style_hash=csp_hash(style),
        )
    )


def sweep_svg(sweep: Sweep, alt: str) -> str:
    """Draw the curves for the page; `alt` describes them to readers who cannot see them."""
    return svg_text(sweep_figure(sweep), name="sweep", alt=alt)


def _facts(sweep: Sweep) -> tuple[Fact, ...]:
    last, first = sweep.rows[-1], sweep.first_failing
    most = max(sweep.rows, key=lambda row: row.n_confirmed_images)
    n_passing = sum(row.gate == "pass" for row in sweep.rows)
    return (
        Fact(
            f"{len(sweep.rows)}",
            "checkpoints audited",
            f"{n_passing} pass the gate; {count_text(last.n_prompts, 'prompt')} each",
        ),
        Fact(
            "–" if first is None else f"{first.step:,}",
            "none fails" if first is None else f"first {sweep.unit} that fails",
            "no limit of the policy is exceeded" if first is None else visible_text(first.checkpoint, _NAME),
        ),
        Fact(
            percent(last.flagged_share),
            "flagged at the last checkpoint",
            f"{count_text(last.n_flagged, 'prompt')}; {percent(sweep.fpr)} expected by chance",
        ),
        Fact(
            f"{most.n_confirmed_images:,}",
            "memorized images at most",
            f"confirmed at {visible_text(most.checkpoint, _NAME)}" if most.n_confirmed_images else "none was confirmed",
        ),
    )


def _cells(row: SweepRow, is_first_failing: bool) -> dict[str, object]:
    return {
        "name": visible_text(row.checkpoint, _NAME),
        "link": quote(f"{row.run}/{REPORT_FILE}"),
        "step": f"{row.step:,}",
        "flagged": share_text(row),
        "median": excess_text(row.median_excess),
        "top": excess_text(row.top_excess),
        "images": f"{row.n_confirmed_images:,}",
        "prompts": f"{row.n_confirmed_prompts:,}",
        "gate": row.gate,
        "is_first": is_first_failing,
    }
