"""Write the annex of a run as one printable page and as Markdown."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from markupsafe import Markup

from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.evidence.annex import build_annex
from flashbulb.reports.evidence.context import ReleaseContext
from flashbulb.reports.evidence.document import Annex, Points, Quoted, Said, Table
from flashbulb.reports.evidence.markdown import annex_markdown
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.template import csp_hash, page_style, read_template, template_environment
from flashbulb.reports.tables.files import ANNEX_FILES, write_text
from flashbulb.reports.tables.record_files import read_content


def annex_paths(folder: Path) -> tuple[Path, Path]:
    """Return where `write_annex` writes: the page, and the Markdown."""
    page, markdown = (folder / name for name in ANNEX_FILES)
    return page, markdown


def write_annex(
    folder: Path,
    directory: Path,
    run: CheckedRun,
    report: GateReport,
    context: ReleaseContext,
    *,
    redact: bool,
    today: date,
) -> None:
    """Write the annex of the run in `directory` into `folder`, each file completely or not at all.

    Args:
        redact: name prompts by file and row.
    """
    page, markdown = annex_paths(folder)
    annex = build_annex(run, report, context, _machine(directory), Labels(redact, page), today)
    write_text(page, annex_html(annex))
    write_text(markdown, annex_markdown(annex))


def _machine(directory: Path) -> Mapping[str, object]:
    """Return what the identity of a recording names: the data type and the device that the model ran with."""
    identity = read_content(directory, "audit").get("identity")
    recording = identity.get("recording") if isinstance(identity, Mapping) else None
    return recording if isinstance(recording, Mapping) else {}


def annex_html(annex: Annex) -> str:
    """Render the annex as a self-contained page without scripts."""
    environment, style = template_environment(), page_style() + read_template("evidence.css")
    environment.tests |= {
        "quoted": lambda value: isinstance(value, Quoted),
        "said": lambda value: isinstance(value, Said),
        "points": lambda value: isinstance(value, Points),
        "table": lambda value: isinstance(value, Table),
    }
    template = environment.get_template("evidence.html.j2")
    return template.render(annex=annex, style=Markup(style), style_hash=csp_hash(style))
