"""`report.html`: one file that needs no network and no script, from a finished run and the gate's judgement of it."""

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.check import OTHER_TABLES, CheckedRun
from reports.drawing import DARK, LIGHT
from reports.files import RECOVERIES_FILE, SCORES_FILE, write_text
from reports.gate import GateReport, JudgedFinding
from reports.page_cards import MAX_CARDS, anchors_of, cards_of, rows_by_prompt
from reports.page_facts import facts_of, limits_of, method_of
from reports.page_figures import card_profiles, figures_of, profiles_of
from reports.page_rows import rows_of
from reports.page_words import Words
from reports.recoveries import best_rungs
from reports.schema import RECOVERIES_SCHEMA, detector_columns, read_table, scores_schema
from reports.site_names import short_site
from reports.text import visible_text
from reports.thumbnails import Images

_TEMPLATES = Path(__file__).with_name("templates")
_STANDINGS = {"breaks": "breaks the policy", "allowed": "within the policy", "waived": "waived", "known": "in baseline"}
_HEADLINES = {
    "pass": "Passed: no limit is broken",
    "fail": "Failed: memorized pictures leak",
    "untrusted": "Not to be trusted",
}


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What the page shows of prompts and pictures, either of which may be personal data."""

    redact_prompts: bool
    images: Images


def images_mode(are_shown: bool, are_blurred: bool) -> Images:
    """What the page shows of pictures, from two switches; no pictures wins."""
    return "none" if not are_shown else "blurred" if are_blurred else "shown"


def write_report(path: Path, directory: Path, run: CheckedRun, report: GateReport, options: PageOptions) -> None:
    """Write the page of the run in `directory`, whole or not at all.

    Raises:
        RunFileError: a table of the run cannot be read.
    """
    write_text(path, report_html(path, directory, run, report, options))


def report_html(path: Path, directory: Path, run: CheckedRun, report: GateReport, options: PageOptions) -> str:
    """Render the page that is written to `path`, which its links are relative to."""
    tables = _read(directory)
    rows = {name: table.to_pylist() for name, table in tables.items()}
    words = Words(options.redact_prompts, path)
    profiles = profiles_of(rows["site_profiles"])
    cards = cards_of(
        report.judged, rows_by_prompt(directory, rows["recoveries"], rows["spikes"]), words, options.images
    )
    pictures = best_rungs(tables["recoveries"], (row["prompt_id"] for row in rows["scores"]))
    script, style = _text("report.js"), _theme() + _text("report.css")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            run=run.record,
            headline=_HEADLINES[report.verdict.outcome],
            facts=facts_of(run),
            limits=limits_of(run),
            method=method_of(run.record),
            detectors=", ".join(detector_columns(tables["scores"].schema)),
            cards=cards,
            n_findings=len(report.judged),
            n_showing=sum(one.finding.picture is not None for one in report.judged),
            n_pictures=len({one.finding.picture for one in report.judged if one.finding.picture}),
            max_cards=MAX_CARDS,
            profiles={name: Markup(svg) for name, svg in card_profiles(profiles).items()},
            figures=[(f.title, Markup(f.svg), f.caption) for f in figures_of(run.record, rows, profiles, words)],
            rows=rows_of(rows["scores"], pictures, anchors_of(report.judged), words),
            words=words,
            options=options,
            script=Markup(script),
            style=Markup(style),
            script_hash=_csp_hash(script),
            style_hash=_csp_hash(style),
        )
    )


def _read(directory: Path) -> dict[str, pa.Table]:
    schemas = {SCORES_FILE: scores_schema(()), RECOVERIES_FILE: RECOVERIES_SCHEMA, **OTHER_TABLES}
    return {name.partition(".")[0]: read_table(directory / name, schema) for name, schema in schemas.items()}


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible_text, "short_site": short_site, "standing": _standing, "number": _number}
    return environment


def _standing(judged: JudgedFinding) -> str:
    return _STANDINGS[judged.standing]


def _number(value: float | None) -> str:
    """Three digits, a dash for what is not known."""
    return "–" if value is None else f"{value:.3g}"


def _theme() -> str:
    """Colours as CSS variables; the dark ones where the reader prefers dark."""
    light, dark = (";".join(f"--{name}:{color}" for name, color in palette.items()) for palette in (LIGHT, DARK))
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    """What a Content-Security-Policy calls an inline script or style that may be used."""
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
