"""`report.html`: a finished run and its judgement in one file that needs no network and no script."""

from dataclasses import dataclass, fields
from pathlib import Path

from markupsafe import Markup

from flashbulb.reports.checks.findings import distinct_images
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.gate.judgement import GateReport, is_told
from flashbulb.reports.leaks.next_steps import AGAIN, RUN
from flashbulb.reports.page.cards import (
    MAX_CARDS,
    MAX_ILLUSTRATED,
    build_cards,
    card_anchors,
    card_source,
    image_anchors,
)
from flashbulb.reports.page.facts import command_line, key_facts, limit_sentences, method_sentences, since_baseline
from flashbulb.reports.page.figures import collect_profiles, draw_figures, draw_profiles
from flashbulb.reports.page.glossary import GLOSSARY, term_anchor
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.leaks import leaks_of
from flashbulb.reports.page.ordinary import contrast_of
from flashbulb.reports.page.rows import known_rows, prompt_rows
from flashbulb.reports.page.template import csp_hash, page_style, read_template, template_environment
from flashbulb.reports.page.thumbnails import ImageMode
from flashbulb.reports.power.sentences import power_sentences
from flashbulb.reports.tables.files import write_text
from flashbulb.reports.tables.recoveries import best_attempts
from flashbulb.reports.tables.schema import detector_columns
from flashbulb.reports.tables.strata import STRATUM_HEADER, STRATUM_NOTE, strata_of, stratum_cells
from flashbulb.reports.views.canaries import HEADER, TABLE_NOTE, canary_rows, canary_sentences

N_OPEN = 5
"""Cards that are open at first."""
_STANDINGS = {
    "breaks": "breaks the policy",
    "allowed": "within the policy",
    "waived": "waived",
    "known": "in the baseline",
}
_HEADLINES = {
    "pass": "Passed: no limit of the policy is exceeded",
    "inconclusive": "Inconclusive: this audit could have missed too much to pass",
    "fail": "Failed: a limit of the policy is exceeded",
    "untrusted": "Untrusted: no verdict can be drawn from this audit",
}


@dataclass(frozen=True, slots=True)
class PageOptions:
    """Which prompts and images the page shows. Both may be personal data."""

    redact_prompts: bool
    images: ImageMode


def page_options(
    run: CheckedRun, baseline: CheckedRun | None, *, redact_prompts: bool | None, show_images: bool, blur: bool | None
) -> PageOptions:
    """Return the options of a page; None stands for what the audits were told, so that a page made again shows no more.

    Args:
        baseline: an earlier audit that the page compares with.
    """
    redact = is_told("redact_prompts", run, baseline) if redact_prompts is None else redact_prompts
    return PageOptions(redact, image_mode(show_images, is_told("blur", run, baseline) if blur is None else blur))


def image_mode(show: bool, blur: bool) -> ImageMode:
    """Return how the page shows images. `show=False` overrides `blur`."""
    return "none" if not show else "blurred" if blur else "shown"


def write_report(path: Path, directory: Path, run: CheckedRun, report: GateReport, options: PageOptions) -> None:
    """Write the page of the run in `directory`, completely or not at all."""
    write_text(path, report_html(path, directory, run, report, options))


def report_html(path: Path, directory: Path, run: CheckedRun, report: GateReport, options: PageOptions) -> str:
    """Render the page. Its links are relative to the folder of `path`, where it is meant to be written."""
    tables = run.tables
    rows = {field.name: getattr(tables, field.name).to_pylist() for field in fields(tables) if field.name != "scores"}
    labels = Labels(options.redact_prompts, path)
    profiles = collect_profiles(rows["site_profiles"])
    train_images = run.record.settings.get("train_images")
    source = card_source(directory, train_images, rows["recoveries"], rows["memories"], rows["spikes"])
    best = best_attempts(tables.recoveries)
    findings = [judged.finding for judged in report.judged]
    figures = draw_figures(run.record, tables.scores, rows, profiles, labels)
    cards = build_cards(report.judged, source, labels, options.images)
    run_name = RUN if labels.redact else report.run_name
    script, style = read_template("findings.js") + read_template("prompts.js"), page_style()
    environment = template_environment()
    environment.filters["standing"] = _STANDINGS.__getitem__
    return environment.get_template("report.html.j2").render(
        report=report,
        run=run.record,
        headline=_HEADLINES[report.verdict.outcome],
        leaks=leaks_of(
            report,
            directory,
            train_images,
            source.memories,
            image_anchors(report.judged),
            labels,
            options.images,
        ),
        facts=key_facts(run),
        limits=limit_sentences(run),
        power=power_sentences(run.record),
        method=method_sentences(run.record),
        detectors=", ".join(detector_columns(tables.scores.schema)),
        cards=cards,
        standings=sorted({name for card in cards for name in card.standings}, key=[*_STANDINGS].index),
        verdicts=list(dict.fromkeys(card.verdict for card in cards)),
        changes=sorted({name for card in cards for name in card.changes}),
        since_baseline=since_baseline(report, labels.setting(run_name)),
        n_with_image=sum(finding.image is not None for finding in findings),
        n_images=len(distinct_images(findings, "confirmed") | distinct_images(findings, "likely")),
        max_cards=MAX_CARDS,
        max_illustrated=MAX_ILLUSTRATED,
        n_open=N_OPEN,
        command=command_line(run.record, labels) if run.record.options else None,
        again=AGAIN.of_run(run_name).commands[0],
        glossary=[(term_anchor(term), term, meaning) for term, meaning in GLOSSARY.items()],
        profiles={prompt_id: Markup(svg) for prompt_id, svg in draw_profiles(profiles).items()},
        figures=[(figure.title, Markup(figure.svg), figure.caption) for figure in figures],
        n_prompts=tables.scores.num_rows,
        rows=prompt_rows(tables.scores, best, card_anchors(report.judged), labels),
        base=run.record.base,
        canaries=run.record.canaries,
        canary_sentences=canary_sentences(run.record.canaries) if run.record.canaries is not None else [],
        canary_rows=canary_rows(run.record.canaries) if run.record.canaries is not None else [],
        canary_header=HEADER,
        canary_note=TABLE_NOTE,
        known=known_rows(run.record, tables.scores, labels),
        strata=[stratum_cells(stratum) for stratum in strata_of(tables.scores, tables.recoveries)],
        strata_header=STRATUM_HEADER,
        strata_note=STRATUM_NOTE,
        contrast=contrast_of(run, directory, labels, options.images),
        labels=labels,
        options=options,
        script=Markup(script),
        style=Markup(style),
        script_hash=csp_hash(script),
        style_hash=csp_hash(style),
    )
